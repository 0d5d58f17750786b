//! TLS, accounts, tokens, signing, and logins at next hops.

use super::{Case, PRODUCTION};
use crate::*;

/// What `relay.smarthost` becomes, as shown, and the policy towards it; or what is wrong with it.
fn smarthost(url: &str, more: &str) -> String {
    let case = Case::new(&format!("[relay]\nsmarthost = \"{url}\"\n{more}"));
    match Config::load(&case.sources) {
        Ok(loaded) => {
            let relay = &loaded.config.relay;
            let shown = setting("relay.smarthost").unwrap().shown(&loaded.config);
            format!("{} {}", shown.as_str().unwrap(), relay.tls.name())
        }
        Err(errors) => errors
            .errors
            .iter()
            .map(|error| error.reason.clone() + "\n")
            .collect(),
    }
}

#[test]
fn a_next_hop_has_a_protocol_and_a_login() {
    assert_eq!(smarthost("smtp://h", ""), "smtp://h:25 opportunistic");
    assert_eq!(smarthost("smtps://h", ""), "smtps://h:465 opportunistic");
    assert_eq!(smarthost("lmtp://[::1]", ""), "lmtp://[::1]:24 opportunistic");
    assert_eq!(
        smarthost("smtps://u%40d:hunter2@h:1465/", ""),
        "smtps://u@d:***@h:1465 verified"
    );
    let case = Case::new("[relay]\nsmarthost = \"smtp://u:p%3a%25s@h\"\n");
    let login = case.load().config.relay.smarthost.unwrap().login.unwrap();
    assert_eq!((login.user.as_str(), login.password.expose()), ("u", "p:%s"));
}

#[test]
fn a_login_is_never_sent_in_clear() {
    for tls in ["none", "opportunistic"] {
        let more = format!("tls = \"{tls}\"\n");
        assert!(
            smarthost("smtp://u:hunter2@h", &more).contains("in clear"),
            "{tls}"
        );
        assert!(
            smarthost("smtp://u:hunter2@127.0.0.1", &more).ends_with(tls),
            "loopback is no network"
        );
    }
    assert!(smarthost("smtps://h", "tls = \"none\"\n").contains("smtps:// is TLS"));
    assert_eq!(
        smarthost("smtp://u:p@h", "tls = \"required\"\n"),
        "smtp://u:***@h:25 required"
    );
}

#[test]
fn a_wrong_next_hop_is_refused_without_its_password() {
    for url in [
        "smtp://u:hunter2@",
        "smtp://:hunter2@h",
        "smtp://u:hunter2%@h",
        "smtp://u:hunter2@h:x",
        "ftp://u:hunter2@h",
    ] {
        let error = smarthost(url, "");
        assert!(
            error.ends_with('\n') && !error.contains("hunter2"),
            "{url}: {error}"
        );
    }
}

#[test]
fn a_password_comes_from_a_file() {
    let case = Case::new("");
    let file = case.write("password", "s3cret\n");
    let write = |text: &str| {
        case.write("config.toml", &text.replace("FILE", &file.display().to_string()));
    };
    write("[relay]\nsmarthost = \"smtps://u@h\"\npassword_file = \"FILE\"\n");
    let login = case.load().config.relay.smarthost.unwrap().login.unwrap();
    assert_eq!(login.password.expose(), "s3cret");
    write("[[routes]]\nmatch = \"*\"\nto = \"smtp://u@h\"\npassword_file = \"FILE\"\n");
    let route = case.load().config.routes.remove(0);
    assert_eq!(
        (route.to.login.unwrap().password.expose(), route.tls),
        ("s3cret", TlsPolicy::Verified)
    );
    for (text, word) in [
        ("[relay]\nsmarthost = \"smtps://u@h\"\n", "no password"),
        (
            "[relay]\nsmarthost = \"smtps://h\"\npassword_file = \"FILE\"\n",
            "names no user",
        ),
        (
            "[relay]\nsmarthost = \"smtps://u:p@h\"\npassword_file = \"FILE\"\n",
            "keep one",
        ),
        ("[relay]\npassword_file = \"FILE\"\n", "no relay.smarthost"),
        (
            "[relay]\nsmarthost = \"smtps://u@h\"\npassword_file = \"/nowhere\"\n",
            "/nowhere",
        ),
        (
            "[[accounts]]\nname = \"a\"\npassword_file = \"FILE\"\npassword = \"x\"\n",
            "keep one",
        ),
    ] {
        write(text);
        let errors = case.errors().join("\n");
        assert!(
            errors.contains(word) && !errors.contains("s3cret"),
            "{text}: {errors}"
        );
    }
}

#[test]
fn accounts_and_aliases_are_read_and_shown_without_passwords() {
    let case = Case::new(
        r#"
[[accounts]]
name = "Billing"
password = "hunter2"
senders = ["*@Example.com", "*@*.example.net", "bo@example.org"]
identities = "oauth:system:serviceaccount:shop:billing"
quota = ["100/hour", "recipients:5000/day"]
[[aliases]]
name = "@Example.com"
to = ["ann@Example.com", "crm@partner.example"]
"#,
    );
    let loaded = case.load();
    let account = &loaded.config.accounts[0];
    assert_eq!(
        account.senders,
        ["*@example.com", "*@*.example.net", "bo@example.org"]
    );
    assert_eq!(account.quota[1].to_string(), "recipients:5000/day");
    assert_eq!(account.quota[1].period.length().as_secs(), 86_400);
    assert_eq!(
        loaded.config.aliases[0].to,
        ["ann@example.com", "crm@partner.example"]
    );
    let shown = show_json(&loaded);
    assert!(shown.contains("\"***\"") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn wrong_items_are_refused_with_their_line() {
    for (text, error) in [
        (
            "[[accounts]]\nname = \"a b\"\n",
            "config.toml:2: accounts[0].name: it must be at most 255 octets without blanks",
        ),
        (
            "[[accounts]]\nname = \"a\"\n[[accounts]]\nname = \"A\"\n",
            "config.toml:4: accounts[1].name: there is one with the same before",
        ),
        (
            "[[accounts]]\nname = \"a\"\nquota = [\"0/hour\"]\n",
            "is no quota",
        ),
        (
            "[[accounts]]\nname = \"a\"\nquota = [\"5/week\"]\n",
            "is no quota",
        ),
        (
            "[[accounts]]\nname = \"a\"\nsenders = [\"a*@x.example\"]\n",
            "is no pattern",
        ),
        (
            "[[accounts]]\nname = \"a\"\nsenders = [\"a@*.x.example\"]\n",
            "is no pattern",
        ),
        (
            "[[accounts]]\nname = \"a\"\nidentities = [\"jane\"]\n",
            "must be oauth:SUBJECT or cert:NAME",
        ),
        ("[[aliases]]\nname = \"a@x.example\"\nto = []\n", "at least one"),
        (
            "[[aliases]]\nname = \"a@x.example\"\nto = [\"@x.example\"]\n",
            "is not an address",
        ),
        (
            "[[domains]]\nname = \"x.example\"\ndeliver = \"capture\"\nrecipients = \"verify\"\n",
            "only a next hop",
        ),
        (
            "[[domains]]\nname = \"x.example\"\ndeliver = \"lmtp:h:25\"\n",
            "must not use port 25",
        ),
        (
            "[[domains]]\nname = \"x.example\"\ndeliver = \"smtp:u:p@h\"\n",
            "takes no user",
        ),
        (
            "[[dkim_keys]]\ndomain = \"x.example\"\nselector = \"_a\"\nkey_file = \"k\"\n",
            "is no selector",
        ),
    ] {
        let errors = Case::new(text).errors().join("\n");
        assert!(errors.contains(error), "{text}: {errors}");
    }
}

#[test]
fn who_keeps_mailboxes_knows_them() {
    let domain = |deliver: &str| {
        let case = Case::new(&format!(
            "[[domains]]\nname = \"x.example\"\ndeliver = \"{deliver}\"\n"
        ));
        case.load().config.domains[0].recipients.name()
    };
    assert_eq!(
        (domain("maildir:/m"), domain("capture"), domain("lmtp:h:24")),
        ("known", "any", "any")
    );
}

#[test]
fn submission_needs_tls() {
    let closed = Case::new("tls.enabled = false\n").load().config;
    assert!(!closed.smtps.enabled && !closed.submission.enabled);
    let error = Case::new("tls.enabled = false\nsubmission.enabled = true\n").error();
    assert!(error.contains("never taken in clear"), "{error}");
    let error = Case::new(&PRODUCTION.replace("tls.enabled = false\n", "")).error();
    assert!(error.contains("production needs a certificate"), "{error}");
    assert!(
        Case::new("[tls]\ncert_file = \"c\"\n")
            .error()
            .contains("tls.key_file")
    );
}

#[test]
fn listeners_share_no_port() {
    let error = Case::new("server.port = 4650\n").error();
    assert!(
        error.contains("smtps.port: port 4650 is taken by server.port"),
        "{error}"
    );
    Case::new("server.port = 4650\nsmtps.enabled = false\n").load();
    Case::new("server.port = 0\nsmtps.port = 0\nsubmission.port = 0\nhttp.port = 0\n").load();
}

#[test]
fn tokens_need_an_audience_and_keys_from_a_safe_place() {
    let issuer = "[oauth]\nissuer = \"https://i\"\n";
    let oauth = |more: &str| Case::new(&format!("{issuer}{more}")).errors().join("\n");
    assert!(oauth("jwks_file = \"f\"\n").contains("oauth.audience"));
    let error = oauth("audience = [\"smtp\"]\n");
    assert!(error.contains("the issuer's keys are needed"), "{error}");
    assert!(oauth("audience = [\"smtp\"]\njwks_url = \"http://10.0.0.1/k\"\n").contains("https://"));
    let loopback = "audience = \"smtp\"\njwks_url = \"http://127.0.0.1:8000/k\"\n";
    Case::new(&format!("{issuer}{loopback}")).load();
    assert!(
        Case::new("[oauth]\naudience = \"smtp\"\n")
            .error()
            .contains("oauth.issuer")
    );
}

#[test]
fn the_signing_domain_is_that_above_the_hostname() {
    let pem = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";
    let case = Case::new("[server]\nhostname = \"mail.example.com\"\n").env("SMTP_DKIM_PRIVATE_KEY", pem);
    let loaded = case.load();
    assert_eq!(loaded.config.dkim.domain.as_deref(), Some("example.com"));
    assert!(!show_json(&loaded).contains("AA=="));
    let error = Case::new("[server]\nhostname = \"mail.example.com\"\n")
        .env("SMTP_DKIM_PRIVATE_KEY", "x")
        .error();
    assert!(error.contains("no PEM private key"), "{error}");
}

#[test]
fn files_are_looked_at() {
    let mut case = Case::new("");
    case.sources.resolve_files = true;
    let file = case.write("empty.pem", "nothing\n").display().to_string();
    case.write(
        "config.toml",
        &format!(
            "[tls]\ncert_file = \"{file}\"\nkey_file = \"{file}\"\n[[certificates]]\ncert_file = \"{file}\"\nkey_file = \"/nowhere\"\n\
             [[dkim_keys]]\ndomain = \"x.example\"\nselector = \"s\"\nkey_file = \"{file}\"\n[storage]\npath = \"{file}.db\"\n"
        ),
    );
    let errors = case.errors().join("\n");
    for part in [
        "tls.cert_file: ",
        "tls.key_file: ",
        "certificates: ",
        "/nowhere",
        "dkim_keys: ",
    ] {
        assert!(errors.contains(part), "{part}: {errors}");
    }
    assert_eq!(case.errors().len(), 5, "{errors}");
}

#[test]
fn tokens_of_the_admin_api_are_read_and_never_shown() {
    let text = |more: &str| format!("[[admin.tokens]]\nname = \"ci\"\nscope = \"operate\"\n{more}");
    let secret = "0123456789abcdef0123456789abcdef";
    let case = Case::new(&text(&format!("token = \"{secret}\"\n")));
    let loaded = case.load();
    let token = &loaded.config.admin_tokens[0];
    assert_eq!(
        (token.name.as_str(), token.scope, token.token.expose()),
        ("ci", Scope::Operate, secret)
    );
    let shown = show_json(&loaded);
    assert!(
        shown.contains("admin.tokens") && !shown.contains(secret),
        "{shown}"
    );
    let file = case.folder.path().join("token");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let case = Case::new(&text(&format!("token_file = {file:?}\n")));
    assert_eq!(case.load().config.admin_tokens[0].token.expose(), secret);
    for (more, error) in [
        (String::new(), "admin.tokens[0].token: it has to be set"),
        ("token = \"short\"\n".to_owned(), "32 to 512"),
        (
            format!("token = \"{secret}\"\ntoken_file = {file:?}\n"),
            "keep one",
        ),
        (
            format!("token = \"{secret}\"\nscpoe = \"x\"\n"),
            "did you mean scope?",
        ),
    ] {
        let errors = Case::new(&text(&more)).errors().join("\n");
        assert!(
            errors.contains(error) && !errors.contains(secret),
            "{more}: {errors}"
        );
    }
    for name in ["admin", "a b", ""] {
        let text = format!("[[admin.tokens]]\nname = {name:?}\nscope = \"all\"\ntoken = \"{secret}\"\n");
        let errors = Case::new(&text).errors().join("\n");
        assert!(
            errors.contains("admin.tokens[0].name") && errors.contains("admin.tokens[0].scope"),
            "{errors}"
        );
    }
    let errors = Case::new("[admin]\ntokens = \"x\"\n").errors().join("\n");
    assert!(errors.contains("write [[admin.tokens]]"), "{errors}");
}

#[test]
fn webhooks_are_read_and_their_secrets_never_shown() {
    let secret = "whsec_bmV3IHNlY3JldCBvZiB0aGlydHktdHdvIG9jdGV0cw==";
    let text =
        |more: &str| format!("[[webhooks]]\nname = \"billing\"\nurl = \"https://x.test/hook\"\n{more}");
    let case = Case::new(&text(&format!(
        "secret = \"{secret}\"\nevents = [\"bounced\"]\naccounts = [\"shop\"]\n"
    )));
    let loaded = case.load();
    let webhook = &loaded.config.webhooks[0];
    assert_eq!(webhook.secrets[0].expose(), b"new secret of thirty-two octets");
    assert!(webhook.wants(MessageEvent::Bounced, Some("shop")));
    assert!(
        !webhook.wants(MessageEvent::Bounced, Some("other")) && !webhook.wants(MessageEvent::Bounced, None)
    );
    assert!(!webhook.wants(MessageEvent::Delivered, Some("shop")));
    let shown = show_json(&loaded) + &format!("{:?}", loaded.config);
    assert!(
        shown.contains("https://x.test/hook") && !shown.contains("bmV3"),
        "{shown}"
    );
    assert!(!shown.contains("new secret"), "{shown}");
    let file = case.folder.path().join("secrets");
    let with_file = Case::new(&text(&format!("secret_file = {file:?}\n")));
    std::fs::write(&file, format!("{secret}\n\n{secret}\n")).unwrap();
    let loaded = with_file.load();
    let webhook = &loaded.config.webhooks[0];
    assert_eq!((webhook.secrets.len(), webhook.events.len()), (2, 5));
    assert!(webhook.wants(MessageEvent::Captured, None), "of everybody's mail");
    for (content, error) in [
        ("", "it is empty"),
        ("whsec_c2hvcnQ=\n", "24 to 64"),
        (&format!("{secret}\n").repeat(5), "more than 4"),
    ] {
        std::fs::write(&file, content).unwrap();
        let errors = with_file.errors().join("\n");
        assert!(errors.contains(error) && errors.contains("secrets: "), "{errors}");
    }
    for (more, error) in [
        (String::new(), "webhooks[0].secret: it has to be set"),
        ("secret = \"hunter2\"\n".to_owned(), "whsec_"),
        (
            format!("secret = \"{secret}\"\nsecret_file = {file:?}\n"),
            "keep one",
        ),
        (
            format!("secret = \"{secret}\"\nevents = []\n"),
            "it has to name one",
        ),
        (
            format!("secret = \"{secret}\"\nevents = [\"opened\"]\n"),
            "none of delivered",
        ),
    ] {
        let errors = Case::new(&text(&more)).errors().join("\n");
        assert!(
            errors.contains(error) && !errors.contains("hunter2") && !errors.contains("bmV3"),
            "{more}: {errors}"
        );
    }
    let errors = Case::new("[[webhooks]]\nname = \"a\"\nurl = \"ftp://x\"\n")
        .errors()
        .join("\n");
    assert!(errors.contains("webhooks[0].url"), "{errors}");
}

#[test]
fn a_placeholder_is_no_secret() {
    assert!(smarthost("smtp://u:CHANGE-ME@127.0.0.1", "").contains("CHANGE-ME still stands there"));
    for text in [
        "[storage]\nurl = \"postgresql://u:CHANGE-ME@db/smtp\"\n",
        "[admin]\npassword = \"my CHANGE-ME\"\n",
        "[[accounts]]\nname = \"a\"\npassword = \"CHANGE-ME\"\n",
    ] {
        let errors = Config::load(&Case::new(text).sources).unwrap_err();
        assert!(
            errors.to_string().contains("CHANGE-ME still stands there"),
            "{text}: {errors}"
        );
    }
}
