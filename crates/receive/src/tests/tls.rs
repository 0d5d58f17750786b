//! TLS: how a connection comes into it, what is forgotten there, and how it ends.

pub(super) mod client;

use super::*;
use client::{Secure, builder, client_config, handshake};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion};
use smtp_config::TlsVersion;

async fn one_message(client: &mut Secure) {
    client.begin_data().await;
    client.say("Subject: x\r\n\r\nx\r\n.", "250 2.0.0").await;
}

#[tokio::test]
async fn a_message_under_starttls_says_so() {
    let stage = Stage::start(config());
    for (version, field) in [
        (
            &rustls::version::TLS13,
            "\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n\tby mx.test (smtp-server) with ESMTPS id ",
        ),
        (
            &rustls::version::TLS12,
            "\r\n\t(using TLSv1.2 with cipher TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)\r\n\tby mx.test (smtp-server) with ESMTPS id ",
        ),
    ] {
        let config = builder(&[version]).with_no_client_auth().into();
        let mut client = stage.starttls(Listener::Smtp, &config).await;
        let offer = client.say("EHLO client.test", "250").await;
        assert!(!offer.contains("STARTTLS"), "{offer}");
        client.say("STARTTLS", "503").await;
        one_message(&mut client).await;
        client.say("QUIT", "221").await;
        client.expect_end().await;
        let messages = stage.messages().await;
        let content = stage.content(messages.last().unwrap()).await;
        assert!(content.contains(field), "{content}");
    }
    assert_eq!(stage.messages().await.len(), 2);
    for version in ["1.2", "1.3"] {
        let series = format!(
            "smtp_tls_handshakes_total{{listener=\"smtp\",version=\"{version}\",handshake=\"full\"}}"
        );
        assert_eq!(stage.metric(&series), 1.0);
    }
}

#[tokio::test]
async fn nothing_of_the_session_survives_starttls() {
    let stage = Stage::start(config());
    let mut client = stage.starttls(Listener::Smtp, &client_config()).await;
    client.say("MAIL FROM:<a@x.test>", "503").await;
    client.say("HELO again.test", "250").await;
    client.say("MAIL FROM:<a@x.test>", "250").await;

    // A mail that was begun in clear is gone too.
    let mut client = stage.greeted().await;
    client.say("MAIL FROM:<ann@client.test>", "250").await;
    client.say("RCPT TO:<bob@local.test>", "250").await;
    client.say("STARTTLS", "220").await;
    let mut client = handshake(&client_config(), client.stream).await.unwrap();
    client.say("EHLO client.test", "250").await;
    client.say("DATA", "503").await;
    client.say("RCPT TO:<bob@local.test>", "503").await;
}

#[tokio::test]
async fn commands_behind_starttls_in_clear_are_never_answered() {
    let mut config = config();
    config.limits.refuse_unauthorized_pipelining = false;
    let stage = Stage::start(config);
    let mut client = stage.greeted().await;
    client
        .send(b"STARTTLS\r\nNOOP\r\nMAIL FROM:<injected@x.test>\r\n")
        .await;
    client.expect("220").await;
    assert!(client.unread.is_empty(), "{:?}", client.unread);
    let mut client = handshake(&client_config(), client.stream).await.unwrap();
    let reply = client.say("VRFY first", "252").await;
    assert!(!reply.contains("2.1.0"), "{reply}");
    client.say("QUIT", "221").await;
    client.expect_end().await;
}

#[tokio::test]
async fn submission_needs_authentication_first() {
    // Who may relay on the other listener may not here: the chart asks nobody whether clients of submission come with their own addresses.
    let mut config = config();
    config.relay.networks = vec!["127.0.0.0/8".parse().unwrap()];
    let stage = Stage::start(config);
    let mut client = stage.smtps(&client_config()).await;
    let offer = client.say("EHLO client.test", "250").await;
    assert!(!offer.contains("STARTTLS"), "{offer}");
    client.say("MAIL FROM:<a@x.test>", "530 5.7.0").await;
    let mut client = stage.starttls(Listener::Submission, &client_config()).await;
    client.say("EHLO client.test", "250").await;
    client.say("MAIL FROM:<a@x.test>", "530 5.7.0").await;
}

#[tokio::test]
async fn without_tls_there_is_none() {
    let mut config = config();
    config.tls.enabled = false;
    config.smtps.enabled = false;
    config.submission.enabled = false;
    let stage = Stage::start(config);
    assert!(stage.reception.addresses(Listener::Smtps).is_empty());
    let mut client = stage.connect().await;
    client.expect("220").await;
    let offer = client.say("EHLO client.test", "250").await;
    assert!(!offer.contains("STARTTLS"), "{offer}");
    client.say("STARTTLS", "502").await;
}

#[tokio::test]
async fn a_ticket_resumes_on_its_own_listener_only() {
    let stage = Stage::start(config());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config: Arc<ClientConfig> = builder(&[version]).with_no_client_auth().into();
        let kind = |client: &Secure| client.stream.get_ref().1.handshake_kind().unwrap();
        let mut first = stage.smtps(&config).await;
        assert_eq!(kind(&first), HandshakeKind::Full);
        first.say("QUIT", "221").await;
        first.expect_end().await;
        let mut foreign = stage.starttls(Listener::Submission, &config).await;
        assert_eq!(kind(&foreign), HandshakeKind::Full, "a ticket of smtps");
        foreign.say("QUIT", "221").await;
        foreign.expect_end().await;
        let mut again = stage.starttls(Listener::Submission, &config).await;
        assert_eq!(kind(&again), HandshakeKind::Resumed);
        again.say("QUIT", "221").await;
        again.expect_end().await;
    }
}

#[tokio::test]
async fn an_old_version_is_refused_when_a_newer_one_is_asked_for() {
    let mut config = config();
    config.tls.min_version = TlsVersion::Tls13;
    let stage = Stage::start(config);
    let old = builder(&[&rustls::version::TLS12]).with_no_client_auth().into();
    let error = handshake(&old, stage.socket(Listener::Smtps).await)
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    let failed = "smtp_tls_handshake_failures_total{listener=\"smtps\",reason=\"incompatible\"}";
    stage.until_metric(failed, 1.0).await;
    let client = stage.smtps(&client_config()).await;
    let version = client.stream.get_ref().1.protocol_version();
    assert_eq!(version, Some(ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn what_is_not_tls_ends_with_an_alert_and_no_reply() {
    let stage = Stage::start(config());
    let mut client = Client {
        stream: stage.socket(Listener::Smtps).await,
        unread: Vec::new(),
    };
    client.send(b"EHLO client.test\r\n").await;
    while client.read().await > 0 {}
    assert_eq!(client.unread.first(), Some(&21), "an alert record");
    assert!(client.unread.len() <= 7, "{:?}", client.unread);
    let failed = "smtp_tls_handshake_failures_total{listener=\"smtps\",reason=\"protocol\"}";
    stage.until_metric(failed, 1.0).await;
    stage.until_connections(0).await;
}

#[tokio::test]
async fn the_alert_of_a_client_is_counted_as_one() {
    let stage = Stage::start(config());
    let strict = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let strict = Arc::new(strict);
    assert!(
        handshake(&strict, stage.socket(Listener::Smtps).await)
            .await
            .is_err()
    );
    let failed = "smtp_tls_handshake_failures_total{listener=\"smtps\",reason=\"alert\"}";
    stage.until_metric(failed, 1.0).await;
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let mut config = config();
    config.tls.handshake_timeout = Duration::from_millis(100);
    let stage = Stage::start(config);
    let mut silent = Client {
        stream: stage.socket(Listener::Smtps).await,
        unread: Vec::new(),
    };
    silent.expect_end().await;
    let mut client = stage.greeted().await;
    client.say("STARTTLS", "220").await;
    client.expect_end().await;
    for listener in ["smtp", "smtps"] {
        let failed =
            format!("smtp_tls_handshake_failures_total{{listener=\"{listener}\",reason=\"timeout\"}}");
        assert_eq!(stage.metric(&failed), 1.0);
    }
    stage.until_connections(0).await;
}

#[tokio::test]
async fn a_refused_connection_on_smtps_just_closes() {
    let mut config = config();
    config.server.max_connections = 1;
    let stage = Stage::start(config);
    let _held = stage.greeted().await;
    let mut refused = Client {
        stream: stage.socket(Listener::Smtps).await,
        unread: Vec::new(),
    };
    refused.expect_end().await;
    let series = "smtp_connections_refused_total{listener=\"smtps\",reason=\"too_many\"}";
    assert_eq!(stage.metric(series), 1.0);
}

#[tokio::test]
async fn who_speaks_before_the_greeting_is_refused_under_tls_too() {
    let stage = Stage::start(config());
    let config = builder(&[&rustls::version::TLS13]).with_no_client_auth();
    let name = ServerName::try_from("mx.test").unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = stage.socket(Listener::Smtps).await.into_std().unwrap();
    socket.set_nonblocking(false).unwrap();
    let reply = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        // What was written early leaves in one write with the end of the handshake.
        connection.writer().write_all(b"EHLO client.test\r\n").unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut socket);
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply);
        reply
    });
    let reply = timeout(PATIENCE, reply).await.unwrap().unwrap();
    assert!(reply.starts_with("554 5.5.0"), "{reply}");
    let series = "smtp_connections_refused_total{listener=\"smtps\",reason=\"early_talker\"}";
    assert_eq!(stage.metric(series), 1.0);
}

#[tokio::test]
async fn the_end_of_tls_within_content_queues_nothing() {
    let stage = Stage::start(config());
    for bdat in [false, true] {
        let mut client = stage.starttls(Listener::Smtp, &client_config()).await;
        client.say("EHLO client.test", "250").await;
        if bdat {
            client.say("MAIL FROM:<ann@client.test>", "250").await;
            client.say("RCPT TO:<bob@local.test>", "250").await;
            client
                .send(&[b"BDAT 100 LAST\r\n".as_slice(), &[b'x'; 50]].concat())
                .await;
        } else {
            client.begin_data().await;
            client.send(b"Subject: half\r\n\r\n").await;
        }
        let (socket, connection) = client.stream.get_mut();
        connection.send_close_notify();
        let mut last = Vec::new();
        connection.write_tls(&mut last).unwrap();
        // In clear behind the end of TLS: what a server that falls back would take for the rest.
        last.extend_from_slice(&[b'x'; 50]);
        last.extend_from_slice(b"\r\n.\r\nNOOP\r\n");
        socket.write_all(&last).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, socket.read_to_end(&mut answer))
            .await
            .expect("closed in time");
        assert!(read.is_err() || !answer.starts_with(b"250"), "{answer:?}");
        stage.until_connections(0).await;
        assert!(stage.messages().await.is_empty());
        assert_eq!(stage.left_behind(), 0);
    }
    stage.greeted().await;
}

#[tokio::test]
async fn large_content_and_a_pipelined_burst_pass_through_tls() {
    let stage = Stage::start(config());
    let mut client = stage.starttls(Listener::Smtp, &client_config()).await;
    client.say("EHLO client.test", "250").await;
    // One record that is larger than what is read at once.
    let noop = format!("NOOP {}\r\n", "x".repeat(400));
    let burst = format!("{}MAIL FROM:<a@x.test>\r\n", noop.repeat(30));
    client.send(burst.as_bytes()).await;
    for _ in 0..30 {
        client.expect("250 2.0.0").await;
    }
    client.expect("250 2.1.0").await;
    client.say("RCPT TO:<bob@local.test>", "250").await;
    client.say("DATA", "354").await;
    let content = format!("{}\r\n", "0123456789".repeat(7)).repeat(20_000);
    client.send(content.as_bytes()).await;
    client.say(".", "250 2.0.0").await;
    let messages = stage.messages().await;
    assert!(stage.content(&messages[0]).await.ends_with(&content));
}

#[tokio::test]
async fn last_words_and_the_end_reach_a_client_under_tls() {
    let mut config = config();
    config.server.connection_timeout = Duration::from_secs(1);
    let stage = Arc::new(Stage::start(config));
    let mut idle = stage.starttls(Listener::Smtp, &client_config()).await;
    idle.expect("421 4.4.2").await;
    // The end was announced: a read that is cut off is an error.
    assert_eq!(idle.stream.read(&mut [0; 1]).await.unwrap(), 0);
    let mut quitter = stage.starttls(Listener::Smtp, &client_config()).await;
    quitter.say("QUIT", "221").await;
    assert_eq!(quitter.stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_drain_ends_sessions_under_tls_and_lets_handshakes_finish() {
    let stage = Arc::new(Stage::start(config()));
    let mut idle = stage.smtps(&client_config()).await;
    let half = stage.socket(Listener::Smtps).await;
    stage.until_connections(2).await;
    let draining = tokio::spawn({
        let stage = stage.clone();
        async move { stage.reception.drain(PATIENCE).await }
    });
    idle.expect("421 4.3.2").await;
    let mut late = handshake(&client_config(), half).await.unwrap();
    late.expect("421 4.3.2").await;
    timeout(PATIENCE, draining)
        .await
        .expect("drained in time")
        .unwrap();
}

#[tokio::test]
async fn the_end_of_a_drain_ends_handshakes() {
    let stage = Stage::start(config());
    let mut half = Client {
        stream: stage.socket(Listener::Smtps).await,
        unread: Vec::new(),
    };
    stage.until_connections(1).await;
    timeout(PATIENCE, stage.reception.drain(Duration::from_millis(100)))
        .await
        .expect("in time");
    half.expect_end().await;
    assert_eq!(stage.reception.connections(), 0);
}

#[tokio::test]
async fn a_client_may_show_a_certificate_by_a_known_authority() {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["app.test".to_owned()]).unwrap();
    let address = "app@local.test".try_into().unwrap();
    params.subject_alt_names.push(SanType::Rfc822Name(address));
    params.distinguished_name.push(DnType::CommonName, "app");
    let known = params.signed_by(&key, &issuer).unwrap().pem();
    let stranger = params.self_signed(&key).unwrap().pem();

    let folder = TempDir::new().unwrap();
    let mut config = config();
    config.tls.client_ca_file = Some(folder.path().join("ca.pem"));
    std::fs::write(folder.path().join("ca.pem"), authority_pem).unwrap();
    let stage = Stage::start(config);
    let showing = |pem: &str| {
        let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = builder(rustls::DEFAULT_VERSIONS).with_client_auth_cert(chain, key);
        Arc::new(config.unwrap())
    };
    let acceptor = stage.reception.shared.tls.as_ref().unwrap();
    let config = acceptor.config(Listener::Smtp).unwrap();
    for (pem, names) in [
        (Some(&known), vec!["app.test", "app@local.test", "app"]),
        (None, vec![]),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = pem.map_or_else(client_config, |pem| showing(pem));
        let client =
            tokio::spawn(async move { handshake(&client, TcpStream::connect(address).await.unwrap()).await });
        let (socket, _) = listener.accept().await.unwrap();
        let mut wire = wire::Wire::new(socket, stage.reception.shared.clone());
        let secured = wire.secure(config.clone(), PATIENCE).await.unwrap();
        assert_eq!(secured.identities, names);
        client.await.unwrap().unwrap();
    }
    // An unknown authority is worse than none.
    let mut refused = handshake(&showing(&stranger), stage.socket(Listener::Smtps).await).await;
    if let Ok(client) = &mut refused {
        assert!(client.stream.read(&mut [0; 100]).await.is_err());
    }
    let failed = "smtp_tls_handshake_failures_total{listener=\"smtps\",reason=\"client_certificate\"}";
    stage.until_metric(failed, 1.0).await;
}
