//! Mail that is taken, and mail that is refused for what it is.

use super::*;
use smtp_queue::QueueId;

#[tokio::test]
async fn a_message_is_stored_with_its_received_field() {
    let stage = Stage::start(config());
    let mut client = stage.greeted().await;
    client.begin_data().await;
    client
        .send(b"Subject: hello\r\nMessage-ID: <1@client.test>\r\n\r\n..dot\r\nend\r\n")
        .await;
    let reply = client.say(".", "250 2.0.0 Ok: queued as ").await;
    let id = reply.trim_end().rsplit(' ').next().unwrap().to_owned();
    client.say("QUIT", "221").await;
    client.expect_end().await;

    let messages = stage.messages().await;
    assert_eq!(messages.len(), 1);
    assert_eq!(Some(messages[0].message.id), QueueId::parse(&id));
    assert_eq!(messages[0].recipients[0].address.as_str(), "bob@local.test");
    assert_eq!(
        messages[0].message.sender.as_ref().unwrap().as_str(),
        "ann@client.test"
    );
    let content = stage.content(&messages[0]).await;
    let (trace, rest) = content.split_once("Subject:").unwrap();
    assert!(
        trace.starts_with("Received: from client.test ([127.0.0.1])\r\n\tby mx.test (smtp-server)"),
        "{trace}"
    );
    assert!(
        trace.contains(&format!(" with ESMTP id {id}\r\n\tfor <bob@local.test>;\r\n\t")),
        "{trace}"
    );
    assert_eq!(
        rest,
        " hello\r\nMessage-ID: <1@client.test>\r\n\r\n.dot\r\nend\r\n"
    );
    assert_eq!(messages[0].message.size, content.len() as u64);
}

#[tokio::test]
async fn several_recipients_stay_out_of_the_received_field() {
    let stage = Stage::start(config());
    let mut client = stage.connect().await;
    client.expect("220").await;
    client.say("HELO client.test", "250").await;
    client.say("MAIL FROM:<>", "250").await;
    client.say("RCPT TO:<bob@local.test>", "250").await;
    client.say("RCPT TO:<Postmaster>", "250").await;
    client.say("DATA", "354").await;
    client.say("x\r\n.", "250 2.0.0").await;
    let messages = stage.messages().await;
    let recipients: Vec<_> = messages[0]
        .recipients
        .iter()
        .map(|to| to.address.as_str().to_owned())
        .collect();
    assert_eq!(recipients, ["bob@local.test", "postmaster@local.test"]);
    assert!(messages[0].message.sender.is_none());
    let content = stage.content(&messages[0]).await;
    assert!(
        content.contains(" with SMTP id ") && !content.contains("for <"),
        "{content}"
    );
}

#[tokio::test]
async fn a_pipelined_burst_is_answered_in_one_segment() {
    let stage = Stage::start(config());
    let mut client = stage.greeted().await;
    client
        .send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@local.test>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n")
        .await;
    client.read().await;
    let replies = String::from_utf8(client.unread.clone()).unwrap();
    let codes: Vec<&str> = replies.lines().filter_map(|line| line.get(..3)).collect();
    assert_eq!(codes, ["250", "250", "554", "354"], "{replies}");
}

#[tokio::test]
async fn relaying_is_denied_and_the_session_goes_on() {
    let stage = Stage::start(config());
    let mut client = stage.greeted().await;
    client.say("MAIL FROM:<a@x.test>", "250").await;
    client
        .say(
            "RCPT TO:<b@remote.test>",
            "554 5.7.1 <b@remote.test>: Relay access denied",
        )
        .await;
    client
        .say("RCPT TO:<@local.test:b@remote.test>", "554 5.7.1")
        .await;
    client.say("RCPT TO:<@remote.test:b@local.test>", "250").await;
    client.say("RSET", "250").await;
    client.say("MAIL FROM:<>", "250").await;
    client.say("RCPT TO:<b@remote.test>", "554 5.7.1").await;
}

#[tokio::test]
async fn a_loop_is_refused_after_its_content() {
    let mut config = config();
    config.limits.max_hops = 3;
    let stage = Stage::start(config);
    let mut client = stage.greeted().await;
    for (hops, answer) in [(2, "250 2.0.0"), (3, "554 5.4.6")] {
        client.begin_data().await;
        client
            .send("Received: from a by b; now\r\n".repeat(hops).as_bytes())
            .await;
        client.say("\r\nReceived: in the body\r\n.", answer).await;
    }
    assert_eq!(stage.messages().await.len(), 1);
}

#[tokio::test]
async fn a_full_disk_is_told_at_mail() {
    let mut config = config();
    config.storage.min_free = 1 << 50;
    let stage = Stage::start(config);
    let mut client = stage.greeted().await;
    client.say("MAIL FROM:<a@x.test>", "452 4.3.1").await;
    client.say("NOOP", "250").await;
}

#[tokio::test]
async fn a_client_that_goes_in_mid_data_leaves_nothing() {
    let stage = Stage::start(config());
    for size in [100, 400 * 1024] {
        let mut client = stage.greeted().await;
        client.begin_data().await;
        client.send("0123456789\r\n".repeat(size / 12).as_bytes()).await;
        drop(client);
        stage.until_connections(0).await;
        assert!(stage.messages().await.is_empty());
        assert_eq!(stage.left_behind(), 0);
    }
}

#[tokio::test]
async fn a_large_message_arrives_whole() {
    let stage = Stage::start(config());
    let mut client = stage.greeted().await;
    client.begin_data().await;
    let content = "0123456789".repeat(7).replacen('0', ".", 1) + "\r\n";
    let content = content.repeat(20_000);
    client
        .send(
            content
                .replace("\r\n.", "\r\n..")
                .replacen('.', "..", 1)
                .as_bytes(),
        )
        .await;
    client.say(".", "250 2.0.0").await;
    let messages = stage.messages().await;
    let stored = stage.content(&messages[0]).await;
    assert!(stored.ends_with(&content));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_at_once() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(8192), hard).unwrap();
    let stage = Stage::start(config());
    let mut clients = Vec::new();
    for _ in 0..1000 {
        clients.push(stage.connect().await);
    }
    for client in &mut clients {
        client.expect("220").await;
    }
    assert_eq!(stage.reception.connections(), 1000);
    let sending: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(one_message(client)))
        .collect();
    for sent in sending {
        sent.await.unwrap();
    }
    stage.until_connections(0).await;
    assert_eq!(stage.queue.store().stats().await.unwrap().messages, 1000);
    assert_eq!(stage.reception.alive(), Ok(()));
}

async fn one_message(mut client: Client) {
    client.say("EHLO client.test", "250").await;
    client.begin_data().await;
    client.say("Subject: x\r\n\r\nx\r\n.", "250 2.0.0").await;
    client.say("QUIT", "221").await;
}
