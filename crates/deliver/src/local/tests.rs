//! Deliveries into real folders.

use super::*;
use crate::testing::{address, message};
use bytes::Bytes;
use smtp_queue::Body;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn only_file(folder: &Path) -> (String, Vec<u8>) {
    let entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    assert_eq!(entries.len(), 1, "{folder:?} holds {entries:?}");
    let name = entries[0].file_name().into_string().unwrap();
    (name, fs::read(entries[0].path()).unwrap())
}

async fn into_maildir(root: &Path, message: &Message, to: &str, body: Body) -> Result<String, Reply> {
    let template = format!("{}/{{domain}}/{{local}}", root.display());
    deliver_maildir(&template, "+", message, &address(to), &body, "mx.test").await
}

#[tokio::test]
async fn a_message_arrives_whole_in_new() {
    let root = tempfile::tempdir().unwrap();
    let content = b"Return-Path: <old@x.test>\r\nSubject: hi\r\n\r\n.dot\r\n8bit: \xff\r\nlast";
    let body = Body::Memory(Bytes::from_static(content));
    let relay = into_maildir(
        root.path(),
        &message(Some("s@x.test")),
        "Ann+tag@Example.com",
        body,
    )
    .await
    .unwrap();

    let folder = root.path().join("example.com/ann");
    assert_eq!(relay, format!("maildir:{}", folder.display()));
    let (name, written) = only_file(&folder.join("new"));
    let expected = b"Return-Path: <s@x.test>\nDelivered-To: Ann+tag@Example.com\n\
        Return-Path: <old@x.test>\nSubject: hi\n\n.dot\n8bit: \xff\nlast";
    assert_eq!(written, expected);
    assert!(
        name.contains(".mx.test,S=") && name.ends_with(&written.len().to_string()),
        "{name}"
    );
    assert_eq!(fs::read_dir(folder.join("tmp")).unwrap().count(), 0);
    for made in ["", "new", "cur", "tmp", ".."] {
        let mode = fs::metadata(folder.join(made)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{made}");
    }
}

#[tokio::test]
async fn the_null_sender_is_an_empty_return_path() {
    let root = tempfile::tempdir().unwrap();
    into_maildir(
        root.path(),
        &message(None),
        "a@b.test",
        Body::Memory(Bytes::new()),
    )
    .await
    .unwrap();
    let (_, written) = only_file(&root.path().join("b.test/a/new"));
    assert_eq!(written, b"Return-Path: <>\nDelivered-To: a@b.test\n");
}

#[tokio::test]
async fn a_large_body_is_copied_over_block_borders() {
    let root = tempfile::tempdir().unwrap();
    // Line lengths that put CR and LF on both sides of every border sooner or later, and a lone CR.
    let lines: Vec<u8> = (0..4000)
        .flat_map(|n| [vec![b'x'; n % 131], b"\r\n".to_vec()].concat())
        .collect();
    let content = [&lines[..], b"a\rb\r\r\nend\r"].concat();
    let spooled = root.path().join("spooled");
    fs::write(&spooled, &content).unwrap();
    let body = Body::file(spooled, content.len() as u64);
    into_maildir(root.path(), &message(None), "a@b.test", body)
        .await
        .unwrap();
    let (_, written) = only_file(&root.path().join("b.test/a/new"));
    let trace = b"Return-Path: <>\nDelivered-To: a@b.test\n";
    let expected = String::from_utf8(content).unwrap().replace("\r\n", "\n");
    assert_eq!(&written[..trace.len()], trace);
    assert!(written[trace.len()..] == *expected.as_bytes());
}

#[tokio::test]
async fn binary_content_keeps_every_octet() {
    let root = tempfile::tempdir().unwrap();
    let mut binary = message(None);
    binary.options.body_type = BodyType::BinaryMime;
    let body = Body::Memory(Bytes::from_static(b"a\r\n\n\r\0\r\n"));
    into_maildir(root.path(), &binary, "a@b.test", body)
        .await
        .unwrap();
    let (_, written) = only_file(&root.path().join("b.test/a/new"));
    assert!(written.ends_with(b"Delivered-To: a@b.test\r\na\r\n\n\r\0\r\n"));
}

#[tokio::test]
async fn failures_are_transient_name_the_folder_and_leave_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("b.test"), "a file where a folder has to be").unwrap();
    let body = Body::Memory(Bytes::from_static(b"x"));
    let reply = into_maildir(root.path(), &message(None), "a@b.test", body)
        .await
        .unwrap_err();
    assert!(reply.is_transient());
    assert!(reply.text.contains("b.test"), "{}", reply.text);

    let lost = Body::file(root.path().join("lost"), 9);
    let reply = into_maildir(root.path(), &message(None), "a@c.test", lost)
        .await
        .unwrap_err();
    assert!(reply.is_transient());
    for folder in ["new", "tmp", "cur"] {
        assert_eq!(
            fs::read_dir(root.path().join("c.test/a").join(folder))
                .unwrap()
                .count(),
            0
        );
    }
}

#[tokio::test]
async fn capture_keeps_one_copy_per_recipient_in_one_folder() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data/capture");
    let body = Body::Memory(Bytes::from_static(b"Subject: x\r\n\r\n"));
    for to in ["a@b.test", "\"../../x\"@c.test"] {
        let relay = deliver_capture(&folder, &message(Some("s@x.test")), &address(to), &body, "mx").await;
        assert_eq!(relay.unwrap(), "capture");
    }
    let mut texts: Vec<String> = fs::read_dir(folder.join("new"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    texts.sort();
    assert_eq!(
        texts,
        [
            "X-Envelope-From: <s@x.test>\nDelivered-To: \"../../x\"@c.test\nSubject: x\n\n",
            "X-Envelope-From: <s@x.test>\nDelivered-To: a@b.test\nSubject: x\n\n",
        ]
    );
}

#[test]
fn a_full_disk_asks_for_space() {
    for error in [nix::errno::Errno::ENOSPC, nix::errno::Errno::EDQUOT] {
        let reply = failed("write", Path::new("/m/a"), &io::Error::from(error));
        assert_eq!((reply.code, reply.enhanced), (452, Some(Enhanced(4, 2, 2))));
    }
    let reply = failed(
        "write",
        Path::new("/m/a"),
        &io::Error::from(nix::errno::Errno::EACCES),
    );
    assert_eq!((reply.code, reply.enhanced), (451, Some(Enhanced(4, 3, 0))));
}
