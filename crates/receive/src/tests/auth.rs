//! AUTH over real sockets: each mechanism, who is refused and when, and what a flood leaves to others.

use super::tls::client::{Secure, builder, client_config, handshake};
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use smtp_config::{Account, Secret as ConfigSecret};
use smtp_directory::Change;
use smtp_sasl::{Channel, Client as SaslClient, Credentials, Mechanism, Secret, TlsExporter};

pub(super) const PASSWORD: &str = "correct horse";

/// An account with a password that may send as anybody of `sender.test`.
pub(super) fn account(name: &str) -> Account {
    Account {
        name: name.into(),
        password: Some(ConfigSecret::new(PASSWORD)),
        senders: vec!["*@sender.test".into()],
        identities: Vec::new(),
        quota: Vec::new(),
    }
}

pub(super) fn config_with_accounts() -> Config {
    let mut config = config();
    config.accounts = vec![account("ann"), account("bob")];
    config
}

pub(super) fn plain(name: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", BASE64.encode(format!("\0{name}\0{password}")))
}

impl Stage {
    /// A client under TLS that has said EHLO.
    pub(super) async fn secured(&self) -> Secure {
        let mut client = self.starttls(Listener::Submission, &client_config()).await;
        client.say("EHLO client.test", "250").await;
        client
    }

    /// The same, logged in.
    pub(super) async fn logged_in(&self, name: &str) -> Secure {
        let mut client = self.secured().await;
        client.say(&plain(name, PASSWORD), "235 2.7.0").await;
        client
    }

    fn auths(&self, mechanism: &str, result: &str) -> f64 {
        self.metric(&format!(
            "smtp_auth_total{{mechanism=\"{mechanism}\",result=\"{result}\"}}"
        ))
    }
}

/// Goes through an exchange; gives the last reply.
async fn exchange(client: &mut Secure, mut sasl: SaslClient) -> String {
    let name = sasl.mechanism().name();
    let command = match sasl.initial() {
        None => format!("AUTH {name}"),
        Some(initial) => format!("AUTH {name} {}", BASE64.encode(&*initial)),
    };
    client.send(format!("{command}\r\n").as_bytes()).await;
    loop {
        let reply = client.reply().await;
        let Some(challenge) = reply.strip_prefix("334 ") else {
            if reply.starts_with("235") {
                sasl.succeeded().unwrap();
            }
            return reply;
        };
        let message = sasl
            .respond(&BASE64.decode(challenge.trim_end()).unwrap())
            .unwrap();
        client
            .send(format!("{}\r\n", BASE64.encode(&*message)).as_bytes())
            .await;
    }
}

fn sasl(mechanism: Mechanism, password: &str, channel: &Channel) -> SaslClient {
    let credentials = Credentials::Password {
        name: "ann".into(),
        password: Secret::new(password),
    };
    SaslClient::choose(&[mechanism], &credentials, channel).unwrap()
}

/// The client's view of its connection.
fn channel(client: &Secure) -> Channel {
    let (_, connection) = client.stream.get_ref();
    let exporter = connection.export_keying_material([0; 32], TlsExporter::LABEL, Some(&[]));
    Channel::Tls {
        exporter: exporter.ok().map(TlsExporter),
        client_certificate: false,
    }
}

#[tokio::test]
async fn mechanisms_are_shown_under_tls_only() {
    let stage = Stage::start(config_with_accounts());
    let mut clear = stage.connect().await;
    clear.expect("220").await;
    let offer = clear.say("EHLO client.test", "250").await;
    assert!(!offer.contains("AUTH"), "{offer}");
    clear.say(&plain("ann", PASSWORD), "538 5.7.11").await;
    for (versions, wanted) in [
        (
            &[&rustls::version::TLS13],
            "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n",
        ),
        (&[&rustls::version::TLS12], "AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n"),
    ] {
        for listener in [Listener::Smtp, Listener::Submission] {
            let tls = builder(versions).with_no_client_auth().into();
            let mut client = stage.starttls(listener, &tls).await;
            let offer = client.say("EHLO client.test", "250").await;
            assert!(offer.contains(wanted), "{offer}");
        }
    }
}

#[tokio::test]
async fn every_mechanism_with_a_password_opens_the_account() {
    let stage = Stage::start(config_with_accounts());
    for mechanism in [
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha256,
        Mechanism::Plain,
        Mechanism::Login,
    ] {
        let mut client = stage.secured().await;
        // Without an exporter, because a client that has one does not choose the other SCRAM.
        let channel = match mechanism {
            Mechanism::ScramSha256Plus => channel(&client),
            _ => Channel::Tls {
                exporter: None,
                client_certificate: false,
            },
        };
        let reply = exchange(&mut client, sasl(mechanism, PASSWORD, &channel)).await;
        assert!(reply.starts_with("235 2.7.0"), "{mechanism}: {reply}");
        client.say(&plain("ann", PASSWORD), "503").await;
        client.say("MAIL FROM:<a@sender.test>", "250").await;
        let name = mechanism.name().to_ascii_lowercase();
        assert_eq!(stage.auths(&name, "accepted"), 1.0, "{name}");
    }
}

#[tokio::test]
async fn scram_refuses_a_wrong_password_and_a_binding_of_another_connection() {
    let stage = Stage::start(config_with_accounts());
    let mut client = stage.secured().await;
    let own = channel(&client);
    let reply = exchange(&mut client, sasl(Mechanism::ScramSha256Plus, "wrong", &own)).await;
    assert!(reply.starts_with("535 5.7.8"), "{reply}");
    let other = channel(&stage.secured().await);
    let reply = exchange(&mut client, sasl(Mechanism::ScramSha256Plus, PASSWORD, &other)).await;
    assert!(reply.starts_with("535 5.7.8"), "{reply}");
    let reply = exchange(&mut client, sasl(Mechanism::ScramSha256Plus, PASSWORD, &own)).await;
    assert!(reply.starts_with("235"), "{reply}");
}

#[tokio::test]
async fn unknown_names_wrong_passwords_and_closed_accounts_hear_the_same() {
    let stage = Stage::start(config_with_accounts());
    let directory = stage.reception.shared.directory.clone();
    for change in [
        Change::AddAccount {
            name: "closed".into(),
            login: smtp_directory::NewLogin::Password(Secret::new(PASSWORD)),
            senders: Vec::new(),
            identities: Vec::new(),
            quotas: Vec::new(),
        },
        Change::SetEnabled {
            name: "closed".into(),
            enabled: false,
        },
    ] {
        directory.apply(change).await.unwrap();
    }
    let mut client = stage.secured().await;
    let mut replies = Vec::new();
    for (name, password) in [("ann", "wrong"), ("nobody", PASSWORD), ("closed", PASSWORD)] {
        replies.push(client.say(&plain(name, password), "535 5.7.8").await);
    }
    assert!(replies.iter().all(|reply| *reply == replies[0]), "{replies:?}");
    assert_eq!(stage.auths("plain", "refused"), 3.0);
    client.say("MAIL FROM:<a@sender.test>", "530 5.7.0").await;
    client.say(&plain("ann", PASSWORD), "235").await;
}

#[tokio::test]
async fn a_name_is_locked_after_failures_and_its_right_password_is_not_confirmed() {
    let mut config = config_with_accounts();
    config.auth.lock_after = 2;
    let stage = Stage::start(config);
    let mut client = stage.secured().await;
    let refusal = client.say(&plain("ann", "wrong"), "535").await;
    client.say(&plain("ANN", "wronger"), "535").await;
    assert_eq!(client.say(&plain("ann", PASSWORD), "535").await, refusal);
    assert_eq!(stage.auths("plain", "locked"), 1.0);
    let mut client = stage.secured().await;
    let own = channel(&client);
    let mut right = sasl(Mechanism::ScramSha256Plus, PASSWORD, &own);
    let first = BASE64.encode(&*right.initial().unwrap());
    let challenge = client
        .say(&format!("AUTH SCRAM-SHA-256-PLUS {first}"), "334 ")
        .await;
    let challenge = BASE64.decode(challenge[4..].trim_end()).unwrap();
    let proof = BASE64.encode(&*right.respond(&challenge).unwrap());
    assert_eq!(
        client.say(&proof, "535").await,
        refusal,
        "no signature of the server"
    );
    assert_eq!(stage.metric("smtp_auth_lockouts_total{scope=\"pair\"}"), 1.0);
    client.say(&plain("bob", PASSWORD), "235").await;
    let mut elsewhere = stage.from("127.0.0.2").await;
    elsewhere.say(&plain("ann", PASSWORD), "235").await;
}

#[tokio::test]
async fn a_network_that_tries_many_names_is_locked() {
    let mut config = config_with_accounts();
    config.auth.lock_after = 1;
    config.rate_limiting.exempt = Vec::new();
    config.rate_limiting.burst_size = 1000;
    let stage = Stage::start(config);
    stage.logged_in("bob").await;
    for n in 0..5 {
        let mut client = stage.secured().await;
        client.say(&plain(&format!("name{n}"), "guess"), "535").await;
    }
    assert_eq!(stage.metric("smtp_auth_lockouts_total{scope=\"network\"}"), 1.0);
    let mut client = stage.secured().await;
    client.say(&plain("ann", PASSWORD), "535").await;
    stage.logged_in("bob").await;
}

#[tokio::test]
async fn a_cancelled_exchange_leaves_nothing() {
    let stage = Stage::start(config_with_accounts());
    let mut client = stage.secured().await;
    client.say("AUTH LOGIN", "334 ").await;
    client.say("*", "501 5.7.0").await;
    client.say("AUTH LOGIN YW5u", "334 ").await;
    client.say("not base64!", "501 5.5.2").await;
    client.say("AUTH PLAIN ====", "501 5.5.2").await;
    client.say("AUTH CRAM-MD5", "504 5.5.4").await;
    client.say("AUTH EXTERNAL =", "504 5.5.4").await;
    client.say("MAIL FROM:<a@sender.test>", "530").await;
    client.say(&plain("ann", PASSWORD), "235").await;
}

#[tokio::test]
async fn auth_within_a_mail_is_refused() {
    let stage = Stage::start(config_with_accounts());
    let mut client = stage.starttls(Listener::Smtp, &client_config()).await;
    client.say("EHLO client.test", "250").await;
    client.say("MAIL FROM:<a@sender.test>", "250").await;
    client.say(&plain("ann", PASSWORD), "503").await;
    client.say("RSET", "250").await;
    client.say(&plain("ann", PASSWORD), "235").await;
}

#[tokio::test]
async fn a_flood_is_turned_away_and_mail_goes_on() {
    let mut config = config_with_accounts();
    config.auth.max_hashing = 1;
    config.auth.lock_after = 1000;
    let stage = Stage::start(config);
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.push(stage.secured().await);
    }
    for client in &mut flood {
        client
            .send(format!("{}\r\n", plain("ann", PASSWORD)).as_bytes())
            .await;
    }
    let mut other = stage.greeted().await;
    other.begin_data().await;
    other.say("x\r\n.", "250 2.0.0").await;
    let mut replies = Vec::new();
    for client in &mut flood {
        replies.push(client.reply().await);
    }
    let count = |start: &str| replies.iter().filter(|reply| reply.starts_with(start)).count();
    let (accepted, later) = (count("235 2.7.0"), count("454 4.7.0"));
    assert_eq!(accepted + later, 20, "{replies:?}");
    assert!(later > 0 && accepted >= 8, "{replies:?}");
    assert_eq!(stage.auths("plain", "unavailable"), later as f64);
}

#[tokio::test]
async fn a_stop_is_not_held_up_by_a_refusal_that_waits() {
    let stage = Arc::new(Stage::start(config_with_accounts()));
    let mut client = stage.secured().await;
    client
        .send(format!("{}\r\n", plain("nobody", "guess")).as_bytes())
        .await;
    stage
        .until_metric("smtp_auth_total{mechanism=\"plain\",result=\"refused\"}", 1.0)
        .await;
    let draining = tokio::spawn({
        let stage = stage.clone();
        async move { stage.reception.drain(PATIENCE).await }
    });
    client.expect("421 4.3.2").await;
    timeout(PATIENCE, draining).await.expect("drained").unwrap();
}

impl Stage {
    /// A client under TLS that comes from another address.
    async fn from(&self, address: &str) -> Secure {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let to = self.reception.addresses(Listener::Smtps)[0];
        let stream = socket.connect(to).await.unwrap();
        let mut client = handshake(&client_config(), stream).await.unwrap();
        client.expect("220").await;
        client.say("EHLO client.test", "250").await;
        client
    }
}
