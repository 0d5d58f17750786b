use super::*;
use proptest::prelude::*;

fn ok(line: &str) -> Command<'_> {
    parse(line.as_bytes()).1.expect(line)
}

fn error(line: &str) -> CommandError {
    parse(line.as_bytes()).1.expect_err(line)
}

fn address(text: &str) -> Option<Address> {
    Some(Address::parse(text).unwrap())
}

#[test]
fn verbs_in_any_case() {
    assert_eq!(ok("rSeT"), Command::Rset);
    assert_eq!(ok("QUIT  \t"), Command::Quit);
    assert_eq!(ok("noop whatever"), Command::Noop);
    assert_eq!(ok("data"), Command::Data);
    assert_eq!(ok("vrfy x"), Command::Vrfy);
    assert_eq!(ok("help"), Command::Help);
    assert_eq!(ok("starttls "), Command::StartTls);
    assert_eq!(error("STARTTLS now"), CommandError::Unexpected);
    assert_eq!(parse(b"expn x"), (Verb::Expn, Ok(Command::NotOffered)));
    assert_eq!(Verb::of(b"GET / HTTP/1.1"), Verb::Http);
    assert_eq!(
        (Verb::Bdat.name(), Verb::Other.name(), Verb::Http.name()),
        ("BDAT", "other", "other")
    );
}

#[test]
fn auth_with_and_without_an_initial_response() {
    let auth = |mechanism, initial: Option<&'static str>| Command::Auth {
        mechanism,
        initial: initial.map(Encoded),
    };
    assert_eq!(ok("auth"), auth("", None));
    assert_eq!(ok("AUTH LOGIN "), auth("LOGIN", None));
    assert_eq!(ok("auth plain  AGEAYg==\t"), auth("plain", Some("AGEAYg==")));
    assert_eq!(ok("AUTH EXTERNAL ="), auth("EXTERNAL", Some("=")));
    assert_eq!(ok("AUTH PLAIN a b"), auth("PLAIN", Some("a b")));
}

#[test]
fn hello_takes_names_people_send() {
    for name in [
        "mail.example.com",
        "my_pc",
        "localhost",
        "[127.0.0.1]",
        "[IPv6:::1]",
        "a.b.",
        "-",
    ] {
        assert_eq!(
            ok(&format!("EHLO {name}")),
            Command::Hello { name, extended: true }
        );
    }
    assert_eq!(
        ok("helo x"),
        Command::Hello {
            name: "x",
            extended: false
        }
    );
    assert_eq!(error("EHLO"), CommandError::Missing);
    assert_eq!(error("EHLO  "), CommandError::Missing);
    for line in ["EHLO a b", "EHLO a(b)", "EHLO \"x\"", "EHLO é"] {
        assert_eq!(error(line), CommandError::Name, "{line}");
    }
    assert_eq!(error(&format!("EHLO {}", "a".repeat(256))), CommandError::Name);
}

#[test]
fn paths() {
    let mail = |line: &'static str| match ok(line) {
        Command::Mail { sender, params } => (sender, params),
        other => panic!("{other:?}"),
    };
    assert_eq!(mail("MAIL FROM:<>"), (None, ""));
    assert_eq!(mail("mail from:<a@b>"), (address("a@b"), ""));
    assert_eq!(mail("MAIL FROM: \t <a@b> SIZE=1"), (address("a@b"), "SIZE=1"));
    assert_eq!(mail("MAIL  FROM:<@a,@[IPv6:::1]:c@d>"), (address("c@d"), ""));
    assert_eq!(mail("MAIL FROM:<\"a b>@c\"@d> X"), (address("\"a b>@c\"@d"), "X"));
    assert_eq!(mail("MAIL FROM:<a@[1.2.3.4]>"), (address("a@[1.2.3.4]"), ""));
    assert_eq!(
        ok("RCPT TO:<pOSTmaster> A=B"),
        Command::Rcpt {
            recipient: None,
            params: "A=B"
        }
    );
    assert_eq!(
        ok("RCPT TO:<postmaster@x>"),
        Command::Rcpt {
            recipient: address("postmaster@x"),
            params: ""
        }
    );
}

#[test]
fn malformed_paths() {
    use AddressError::{Domain, Incomplete, LocalPart};
    for (line, expected) in [
        ("MAIL", CommandError::Keyword),
        ("MAIL TO:<a@b>", CommandError::Keyword),
        ("MAIL FROM <a@b>", CommandError::Keyword),
        ("RCPT TO :<a@b>", CommandError::Keyword),
        ("MAIL FROM:", CommandError::Brackets),
        ("MAIL FROM:a@b", CommandError::Brackets),
        ("MAIL FROM:<a@b", CommandError::Brackets),
        ("MAIL FROM:<a@b>SIZE=1", CommandError::Brackets),
        ("MAIL FROM:<a@b>>", CommandError::Brackets),
        ("MAIL FROM:<postmaster>", CommandError::Address(Incomplete)),
        ("MAIL FROM:<;id;>", CommandError::Address(Incomplete)),
        ("MAIL FROM:<;id;@x>", CommandError::Address(LocalPart)),
        ("MAIL FROM:<a@b.>", CommandError::Address(Domain)),
        ("MAIL FROM:<a@b:c>", CommandError::Address(Domain)),
        ("MAIL FROM:< a@b>", CommandError::Address(LocalPart)),
        ("MAIL FROM:<@a:>", CommandError::Address(Incomplete)),
        ("MAIL FROM:<@a,b:c@d>", CommandError::Route),
        ("MAIL FROM:<@a,>", CommandError::Route),
        ("MAIL FROM:<@:c@d>", CommandError::Route),
        ("RCPT TO:<>", CommandError::NullRecipient),
    ] {
        assert_eq!(error(line), expected, "{line}");
    }
}

#[test]
fn chunks() {
    assert_eq!(ok("BDAT 0"), Command::Bdat { size: 0, last: false });
    assert_eq!(ok("bdat 0010 last "), Command::Bdat { size: 10, last: true });
    assert_eq!(
        ok("BDAT 18446744073709551615"),
        Command::Bdat {
            size: u64::MAX,
            last: false
        }
    );
    for line in [
        "BDAT",
        "BDAT x",
        "BDAT -1",
        "BDAT +1",
        "BDAT 1 FIRST",
        "BDAT 1 LAST 2",
        "BDAT 18446744073709551616",
    ] {
        assert_eq!(error(line), CommandError::Chunk, "{line}");
    }
}

#[test]
fn octets_that_no_command_holds() {
    for line in [
        &b"NOOP \0"[..],
        b"NOOP\r",
        b"NOOP \x80",
        b"NOOP \x7f",
        b"\x16\x03\x01",
        "NOOP \u{85}".as_bytes(),
    ] {
        assert_eq!(parse(line).1, Err(CommandError::Octets), "{line:?}");
    }
    for line in ["", " NOOP", "NOOPE", "NOO"] {
        assert_eq!(error(line), CommandError::Verb);
    }
    for line in ["DATA x", "RSET x", "QUIT x"] {
        assert_eq!(error(line), CommandError::Unexpected);
    }
    assert_eq!(error("VRFY"), CommandError::Missing);
}

proptest! {
    #[test]
    fn any_octets_are_answered(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&line);
    }

    #[test]
    fn near_commands_are_answered(line in "(MAIL FROM:|RCPT TO:|BDAT |EHLO |[<>@:,;\"\\\\\\[\\]. a-c0-9é]){1,30}") {
        if let (_, Ok(Command::Mail { sender: Some(sender), .. })) = parse(line.as_bytes()) {
            let again = format!("MAIL FROM:<{sender}>");
            prop_assert_eq!(ok(&again), Command::Mail { sender: Some(sender), params: "" });
        }
    }
}
