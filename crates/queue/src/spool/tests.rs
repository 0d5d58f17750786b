use super::*;
use std::fs;
use tempfile::TempDir;

fn spool(budget: usize) -> (TempDir, Spool) {
    let folder = TempDir::new().unwrap();
    let folders = Folders::create(folder.path()).unwrap();
    let spool = Spool::new(folders, 0, budget);
    (folder, spool)
}

fn files(folder: &Path) -> usize {
    let count = |path: PathBuf| {
        fs::read_dir(path)
            .unwrap()
            .filter(|file| file.as_ref().unwrap().path().is_file())
            .count()
    };
    let shards = fs::read_dir(folder.join("bodies")).unwrap();
    shards.map(|shard| count(shard.unwrap().path())).sum()
}

#[test]
fn the_folders_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, spool) = spool(0);
    spool
        .folders()
        .make_shard(&folder.path().join("bodies/00"))
        .unwrap();
    for name in ["bodies", "bodies/tmp", "bodies/00", "quarantine"] {
        let mode = fs::metadata(folder.path().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "{name}");
    }
}

async fn write(writer: &mut BodyWriter, octets: usize, chunk: usize) {
    let content: Vec<u8> = (0..octets).map(|number| (number % 251) as u8).collect();
    for part in content.chunks(chunk) {
        writer.write(part).await.unwrap();
    }
}

#[tokio::test]
async fn a_small_body_stays_in_memory_and_gives_it_back() {
    let (folder, spool) = spool(1 << 20);
    let mut writer = spool.writer(QueueId::generate());
    write(&mut writer, 5000, 1400).await;
    let Body::Memory(bytes) = writer.finish().await.unwrap() else {
        panic!("5 KB are small")
    };
    assert_eq!(bytes.len(), 5000);
    let clone = bytes.clone();
    drop(bytes);
    assert_eq!(spool.memory_used(), 5000, "until its last clone is gone");
    drop(clone);
    assert_eq!(spool.memory_used(), 0);
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test]
async fn sizes_around_the_limits_come_back_whole() {
    let (_folder, spool) = spool(1 << 20);
    for size in [
        0,
        1,
        INLINE_BODY - 1,
        INLINE_BODY,
        INLINE_BODY + 1,
        128 * 1024 * 3,
        1_000_003,
    ] {
        for chunk in [1000, 4096, 300_000] {
            let mut writer = spool.writer(QueueId::generate());
            write(&mut writer, size, chunk).await;
            let body = writer.finish().await.unwrap();
            assert_eq!(body.size(), size as u64);
            let content = match &body {
                Body::Memory(bytes) => bytes.to_vec(),
                Body::File { path, .. } => fs::read(path).unwrap(),
            };
            assert_eq!(matches!(body, Body::Memory(_)), size <= INLINE_BODY);
            assert_eq!(content.len(), size);
            assert!(
                content
                    .iter()
                    .enumerate()
                    .all(|(number, octet)| *octet == (number % 251) as u8)
            );
        }
    }
    assert_eq!(spool.memory_used(), 0);
}

#[tokio::test]
async fn over_the_budget_bodies_go_to_files_early() {
    let (folder, spool) = spool(20_000);
    let mut bodies = Vec::new();
    for _ in 0..4 {
        let mut writer = spool.writer(QueueId::generate());
        write(&mut writer, 8000, 8000).await;
        bodies.push(writer.finish().await.unwrap());
    }
    assert_eq!(
        bodies
            .iter()
            .filter(|body| matches!(body, Body::Memory(_)))
            .count(),
        2
    );
    assert!(spool.memory_used() <= 20_000);
    assert_eq!(files(folder.path()), 2);
    bodies.into_iter().for_each(|body| spool.discard(body));
    assert_eq!((files(folder.path()), spool.memory_used()), (0, 0));
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_nothing() {
    let (folder, spool) = spool(1 << 20);
    let mut writer = spool.writer(QueueId::generate());
    write(&mut writer, 700_000, 50_000).await;
    assert_eq!(files(folder.path()), 1);
    drop(writer);
    assert_eq!((files(folder.path()), spool.memory_used()), (0, 0));
}

#[tokio::test]
async fn a_failed_writer_stays_failed() {
    let (folder, spool) = spool(1 << 20);
    fs::remove_dir(folder.path().join("bodies/tmp")).unwrap();
    let mut writer = spool.writer(QueueId::generate());
    assert!(writer.write(&[0; INLINE_BODY + 1]).await.is_err());
    assert!(
        writer.write(b"more").await.is_err(),
        "or else the body would have a hole"
    );
    assert!(writer.finish().await.is_err());
}

#[test]
fn room_is_what_is_over_the_reserve() {
    let (folder, plenty) = spool(0);
    assert!(plenty.free_bytes() > 0 && plenty.has_room(1000));
    assert!(!plenty.has_room(u64::MAX));
    let full = Spool::new(Folders::create(folder.path()).unwrap(), u64::MAX / 2, 0);
    assert!(!full.has_room(0));
}

#[tokio::test]
async fn room_that_was_left_is_filled_at_the_end() {
    for size in [1000, INLINE_BODY - 100, INLINE_BODY + 1, 1_000_003] {
        let (_folder, spool) = spool(1 << 20);
        let mut writer = spool.writer(QueueId::generate());
        writer.write(b"before").await.unwrap();
        writer.reserve(4).await.unwrap();
        write(&mut writer, size, 50_000).await;
        writer.fill(b"ROOM".into()).await.unwrap();
        write(&mut writer, 5, 5).await;
        let content = match writer.finish().await.unwrap() {
            Body::Memory(bytes) => bytes.to_vec(),
            Body::File { path, .. } => fs::read(path).unwrap(),
        };
        assert_eq!(content.len(), 10 + size + 5);
        assert!(
            content.starts_with(b"beforeROOM\x00\x01") && content.ends_with(&[0, 1, 2, 3, 4]),
            "{size}"
        );
    }
}

#[tokio::test]
async fn room_is_filled_whole_or_the_body_is_refused() {
    let (folder, spool) = spool(1 << 20);
    let mut writer = spool.writer(QueueId::generate());
    writer.reserve(4).await.unwrap();
    assert!(writer.finish().await.is_err(), "blanks are not what was meant");
    let mut writer = spool.writer(QueueId::generate());
    writer.reserve(4).await.unwrap();
    assert!(writer.fill(b"long one".into()).await.is_err());
    drop(writer);
    assert_eq!((files(folder.path()), spool.memory_used()), (0, 0));
}
