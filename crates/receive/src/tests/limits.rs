//! Clients that ask too much, or give too little.

use super::*;

fn impatient() -> Config {
    let mut config = config();
    config.server.connection_timeout = Duration::from_secs(1);
    config
}

#[tokio::test]
async fn connections_beyond_the_limit_are_turned_away() {
    let mut config = config();
    config.server.max_connections = 2;
    let stage = Stage::start(config);
    let mut first = stage.greeted().await;
    let _second = stage.greeted().await;
    let mut third = stage.connect().await;
    third.expect("421 4.3.2").await;
    third.expect_end().await;
    assert_eq!(stage.reception.connections(), 2);
    first.say("QUIT", "221").await;
    stage.until_connections(1).await;
    stage.greeted().await;
}

#[tokio::test]
async fn one_client_gets_a_share_of_the_connections() {
    let mut config = config();
    config.server.max_connections = 30;
    config.rate_limiting.exempt.clear();
    config.rate_limiting.burst_size = 100;
    let stage = Stage::start(config);
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(stage.greeted().await);
    }
    let mut more = stage.connect().await;
    more.expect("421 4.7.0").await;
    more.expect_end().await;
    assert_eq!(stage.reception.connections(), 20);
    held.pop().unwrap().say("QUIT", "221").await;
    stage.until_connections(19).await;
    stage.greeted().await;
}

#[tokio::test]
async fn behind_a_proxy_each_client_has_its_share_and_gives_it_back() {
    let mut config = config();
    config.server.max_connections = 30;
    config.server.proxy_protocol = smtp_config::ProxyProtocol::V2;
    config.server.proxy_networks = vec!["127.0.0.1/32".parse().unwrap()];
    config.rate_limiting.exempt.clear();
    config.rate_limiting.burst_size = 100;
    let stage = Stage::start(config);
    let come = async |last: u8| {
        let mut client = stage.connect().await;
        let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02";
        client
            .send(&[&header[..], &[last, 192, 0, 2, 99, 0, 1, 0, 25]].concat())
            .await;
        client
    };
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut client = come(7).await;
        client.expect("220").await;
        held.push(client);
    }
    let mut more = come(7).await;
    more.expect("421 4.7.0").await;
    more.expect_end().await;
    drop(more);
    come(8).await.expect("220").await;
    stage.until_connections(20).await;
    held.pop().unwrap().say("QUIT", "221").await;
    stage.until_connections(19).await;
    come(7).await.expect("220").await;
}

#[tokio::test]
async fn a_rate_limit_counts_connections_and_mails() {
    let mut config = config();
    config.rate_limiting.exempt.clear();
    config.rate_limiting.requests_per_minute = 1;
    config.rate_limiting.burst_size = 2;
    let stage = Stage::start(config);
    let mut client = stage.greeted().await;
    client.say("MAIL FROM:<a@x.test>", "250").await;
    client.say("RSET", "250").await;
    let reply = client.say("MAIL FROM:<a@x.test>", "450 4.7.1").await;
    assert!(
        reply.contains("try again in 60 s") || reply.contains("try again in 5"),
        "{reply}"
    );
    let mut other = stage.connect().await;
    let reply = other.expect("421 4.7.0").await;
    assert!(reply.contains("try again in"), "{reply}");
    other.expect_end().await;
}

#[tokio::test]
async fn an_idle_client_is_closed() {
    let stage = Stage::start(impatient());
    let mut client = stage.greeted().await;
    client.expect("421 4.4.2").await;
    client.expect_end().await;
    stage.until_connections(0).await;
}

#[tokio::test]
async fn half_a_command_does_not_keep_a_session() {
    let stage = Stage::start(impatient());
    let mut client = stage.greeted().await;
    client.send(b"MAIL FR").await;
    client.expect("421 4.4.2").await;
    client.expect_end().await;
}

#[tokio::test]
async fn content_that_drips_is_cut() {
    let stage = Stage::start(impatient());
    let mut client = stage.greeted().await;
    client.begin_data().await;
    drip(&stage, client, b"x").await;
    assert!(stage.messages().await.is_empty());
}

#[tokio::test]
async fn a_command_that_drips_is_cut() {
    let stage = Stage::start(impatient());
    let client = stage.greeted().await;
    drip(&stage, client, b"x").await;
}

#[tokio::test]
async fn a_long_line_that_drips_is_cut() {
    let stage = Stage::start(impatient());
    let mut client = stage.greeted().await;
    client.send(&[b'x'; 4096]).await;
    drip(&stage, client, b"x").await;
}

#[tokio::test]
async fn small_chunks_do_not_start_the_clock_again() {
    let stage = Stage::start(impatient());
    let mut client = stage.greeted().await;
    client.say("MAIL FROM:<ann@client.test>", "250").await;
    client.say("RCPT TO:<bob@local.test>", "250").await;
    client.say("BDAT 1\r\nx", "250").await;
    drip(&stage, client, b"BDAT 0\r\n").await;
    assert!(stage.messages().await.is_empty());
}

/// Sends the drip ever again, each well within the idle limit, until it is cut off.
async fn drip(stage: &Stage, client: Client, what: &'static [u8]) {
    let Client { stream, unread } = client;
    let (read, mut write) = stream.into_split();
    let drip = tokio::spawn(async move {
        while write.write_all(what).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        write
    });
    let mut read = tokio::io::BufReader::new(read);
    let mut reply = unread;
    timeout(PATIENCE, read.read_to_end(&mut reply))
        .await
        .expect("cut in time")
        .ok();
    let last = String::from_utf8_lossy(&reply);
    let last = last.lines().last().unwrap_or_default();
    assert!(last.starts_with("421 4.4.2"), "{last}");
    stage.until_connections(0).await;
    drip.abort();
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_closed() {
    let stage = Stage::start(impatient());
    let mut client = stage.greeted().await;
    let burst = b"NOOP\r\n".repeat(10_000);
    let flood = async { while client.stream.write_all(&burst).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("closed in time");
    stage.until_connections(0).await;
}

#[tokio::test]
async fn who_speaks_before_the_greeting_is_refused() {
    let stage = Stage::open(config());
    let mut client = stage.connect().await;
    client.send(b"EHLO client.test\r\n").await;
    stage.reception.start().unwrap();
    client.expect("554 5.5.0").await;
    client.expect_end().await;
}

#[tokio::test]
async fn who_speaks_before_the_greeting_can_be_let_in() {
    let mut config = config();
    config.limits.refuse_unauthorized_pipelining = false;
    let stage = Stage::open(config);
    let mut client = stage.connect().await;
    client.send(b"EHLO client.test\r\n").await;
    stage.reception.start().unwrap();
    client.expect("220").await;
    client.expect("250").await;
}

#[tokio::test]
async fn a_reload_holds_for_the_next_mail() {
    let stage = Stage::open(config());
    stage.reception.start().unwrap();
    let mut client = stage.greeted().await;
    client.say("MAIL FROM:<a@x.test>", "250").await;
    client.say("RCPT TO:<b@new.test>", "554").await;
    let mut reloaded = config();
    reloaded.domains.push(Domain {
        recipients: smtp_config::Recipients::Any,
        name: "new.test".into(),
        deliver: LocalDelivery::Capture,
    });
    let declarations = Declarations::read(&reloaded).unwrap();
    let directory = &stage.reception.shared.directory;
    directory.reload(declarations).await.unwrap();
    stage.config.store(Arc::new(reloaded));
    client.say("RCPT TO:<b@new.test>", "554").await;
    client.say("RSET", "250").await;
    client.say("MAIL FROM:<a@x.test>", "250").await;
    client.say("RCPT TO:<b@new.test>", "250").await;
}
