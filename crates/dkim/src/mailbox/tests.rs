use super::*;
use proptest::prelude::*;

fn read(value: &str) -> Result<Vec<String>, MailboxError> {
    mailboxes(value.as_bytes()).map(|found| found.iter().map(ToString::to_string).collect())
}

#[test]
fn mailboxes_that_are_understood() {
    let cases: &[(&str, &[&str])] = &[
        ("a@x.test", &["a@x.test"]),
        (" \r\n\ta@x.test \r\n ", &["a@x.test"]),
        ("<a@x.test>", &["a@x.test"]),
        ("A B. C <a@x.test>", &["a@x.test"]),
        ("John Q. Public (of\r\n x) < a.b+c@x.test >", &["a.b+c@x.test"]),
        ("\"evil@y.test\" <a@x.test>", &["a@x.test"]),
        ("\"A, \\\"B\\\" <evil@y.test>,\" <a@x.test>", &["a@x.test"]),
        ("\"folded\r\n name\"\t<a@x.test>", &["a@x.test"]),
        (
            "(evil@y.test, (nested \\) ( \") c)) a@x.test (\"x)",
            &["a@x.test"],
        ),
        ("=?utf-8?q?=22evil=40y=2Etest=22?= <a@x.test>", &["a@x.test"]),
        (
            "M\u{fc}ller <m\u{fc}ller@m\u{fc}nchen.test>",
            &["m\u{fc}ller@m\u{fc}nchen.test"],
        ),
        ("a@x.test, b@y.test", &["a@x.test", "b@y.test"]),
        (
            "a@x.test,\r\n \"B\" <b@y.test>,c@z.test",
            &["a@x.test", "b@y.test", "c@z.test"],
        ),
        (",a@x.test,, ,b@y.test,", &["a@x.test", "b@y.test"]),
        ("team: a@x.test, B <b@y.test>;", &["a@x.test", "b@y.test"]),
        (
            "c@z.test, \"my team\": a@x.test;, b@y.test",
            &["c@z.test", "a@x.test", "b@y.test"],
        ),
        ("nobody:;", &[]),
        ("nobody: (x) ; , a@x.test", &["a@x.test"]),
        ("", &[]),
        (" (only a comment) ", &[]),
        ("\"a b\"@x.test", &["\"a b\"@x.test"]),
        ("\"a\"@x.test", &["a@x.test"]),
        ("<\"a b\"@x.test>", &["\"a b\"@x.test"]),
        ("a@[127.0.0.1]", &["a@[127.0.0.1]"]),
        ("A <a@[IPv6:::1]>", &["a@[IPv6:::1]"]),
    ];
    for (value, wanted) in cases {
        let wanted = wanted.iter().map(ToString::to_string).collect();
        assert_eq!(read(value), Ok(wanted), "{value:?}");
    }
}

#[test]
fn what_readers_understand_differently_is_refused() {
    let syntax = [
        "a@x.test <evil@y.test>",
        "<a@x.test> evil@y.test",
        "<a@x.test> <evil@y.test>",
        "<a@x.test>evil@y.test",
        "a@x.test evil@y.test",
        "a@x.test; evil@y.test",
        "a@x.test;",
        "Doe, John <a@x.test>",
        "a@x.test@y.test",
        "<a@x.test@y.test>",
        "a@x.test>",
        "A <<a@x.test>>",
        "A <B <a@x.test>>",
        "<>",
        "A <>",
        "A < >",
        "a",
        "a, b@x.test",
        "@x.test",
        "a@",
        "a@ x.test",
        "a @x.test",
        "a(c)@x.test",
        "a@(c)x.test",
        "a@x (c).test",
        "a b@x.test",
        "\"a\" b@x.test",
        "\"a\"b@x.test",
        "\"a\".b@x.test",
        "a@x.test\"b\"",
        "<@y.test:a@x.test>",
        "<@y.test,@z.test:a@x.test>",
        "A [b] <a@x.test>",
        "A \\<a@x.test>",
        "[127.0.0.1] <a@x.test>",
        ": a@x.test;",
        "team: other: a@x.test;",
        "team: a@x.test; b@y.test",
        "a@x.test) b@y.test",
        "a@x.test\\",
    ];
    for value in syntax {
        assert_eq!(read(value), Err(MailboxError::Syntax), "{value:?}");
    }
    let open = [
        "\"a <a@x.test>",
        "\"a\\",
        "\"a\\\"",
        "(a (b) a@x.test",
        "a@x.test (b\\)",
        "a@[127.0.0.1",
        "A <a@x.test",
        "A <",
        "A <a",
        "team: a@x.test",
        "team:",
    ];
    for value in open {
        assert_eq!(read(value), Err(MailboxError::Open), "{value:?}");
    }
    let control = [
        "a\0@x.test",
        "a@x.test\0",
        "\"a\0\" <a@x.test>",
        "\"a\u{85}\" <a@x.test>",
        "A \u{1b}[2J <a@x.test>",
        "A\u{85} <a@x.test>",
        "(\x07) a@x.test",
        "a@x.test\r\nb@y.test",
        "a@x.test\nb@y.test",
        "a@x.test\rb@y.test",
        "\"a\r\nb\" <a@x.test>",
        "\"a\n b\" <a@x.test>",
        "\"a\r b\" <a@x.test>",
        "\"a\\\r\n b\" <a@x.test>",
    ];
    for value in control {
        assert_eq!(read(value), Err(MailboxError::Control), "{value:?}");
    }
}

#[test]
fn addresses_that_are_none() {
    let local = [
        ".a@x.test",
        "a.@x.test",
        "a..b@x.test",
        "\"a\tb\"@x.test",
        "\"a\r\n b\"@x.test",
    ];
    for value in local {
        assert_eq!(
            read(value),
            Err(MailboxError::Address(AddressError::LocalPart)),
            "{value:?}"
        );
    }
    let domain = [
        "a@x.test.",
        "a@-x.test",
        "a@x\u{3002}test",
        "a@[1.2.3]",
        "a@[1.2.3.4 ]",
        "a@x\u{2003}",
    ];
    for value in domain {
        assert_eq!(
            read(value),
            Err(MailboxError::Address(AddressError::Domain)),
            "{value:?}"
        );
    }
    assert_eq!(
        read(&format!("{}@x.test", "a".repeat(65))),
        Err(MailboxError::Address(AddressError::TooLong))
    );
}

#[test]
fn addresses_that_some_readers_take_for_others() {
    let cases = [
        "=?utf-8?q?b=40y.test?=@x.test",
        "A <=?utf-8?b?YkB5?=@x.test>",
        "\"=?utf-8?q?b?=\"@x.test",
        "\"evil@y.test\"@x.test",
        "\"evil@y.test,\"@x.test",
        "<\"<evil>\"@x.test>",
        "\"evil@y.test (\"@x.test",
        "\"a\\\"b\"@x.test",
    ];
    for value in cases {
        assert_eq!(read(value), Err(MailboxError::Deceptive), "{value:?}");
    }
}

#[test]
fn octets_that_are_not_utf8() {
    assert_eq!(mailboxes(b"M\xfcller <a@x.test>"), Err(MailboxError::NotUtf8));
}

#[test]
fn a_list_without_end_is_not_read_to_its_end() {
    let list = |count: usize| vec!["a@x.test"; count].join(",");
    assert_eq!(read(&list(MAX_MAILBOXES)).unwrap().len(), MAX_MAILBOXES);
    assert_eq!(read(&list(MAX_MAILBOXES + 1)), Err(MailboxError::TooMany));
    assert_eq!(read(&list(500_000)), Err(MailboxError::TooMany));
}

#[test]
fn a_million_of_anything_is_read_once() {
    let million = 1_000_000;
    assert_eq!(read(&"(".repeat(million)), Err(MailboxError::Open));
    assert_eq!(read(&"()".repeat(million)), Ok(vec![]));
    assert_eq!(read(&",".repeat(million)), Ok(vec![]));
    assert_eq!(read(&"a ".repeat(million)), Err(MailboxError::Syntax));
    assert_eq!(read(&"\"".repeat(million)), Err(MailboxError::Syntax));
    assert_eq!(read(&"\"\\".repeat(million)), Err(MailboxError::Open));
    assert_eq!(read(&"a:;,".repeat(million)), Ok(vec![]));
    assert_eq!(read(&"[".repeat(million)), Err(MailboxError::Open));
}

/// A naive reading: how many `@` there are outside of quotes, comments and literals.
fn visible_ats(text: &str) -> usize {
    let (mut ats, mut depth, mut quoted, mut escaped) = (0, 0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            '@' if !quoted && depth == 0 => ats += 1,
            _ => {}
        }
    }
    ats
}

proptest! {
    // Few of them are taken.
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Whatever is taken, each `@` that a reader could see is an address of the result, in its place.
    #[test]
    fn nobody_is_hidden(value in "(a|@|<|>|,|;|:|\"|\\\\|\\(|\\)|\\[|\\]| |\r\n |\\.|=\\?|a@x|<b@y>|c: ){0,14}") {
        if let Ok(found) = mailboxes(value.as_bytes()) {
            prop_assert_eq!(found.len(), visible_ats(&value), "{:?}", value);
            let mut rest = value.as_str();
            for address in found {
                let domain = format!("@{}", address.domain());
                let at = rest.find(&domain);
                prop_assert!(at.is_some(), "{} in {:?}", address, value);
                rest = &rest[at.unwrap() + domain.len()..];
            }
        }
    }
}

proptest! {
    #[test]
    fn no_input_panics(value in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = mailboxes(&value);
    }

    /// Lists made by the grammar are read as they were meant.
    #[test]
    fn decorated_lists(parts in proptest::collection::vec((0_usize..6, "[a-z]{1,5}", "[a-z]{1,5}\\.test", 0_usize..4), 0..12)) {
        let mut text = String::new();
        for (form, local, domain, gap) in &parts {
            let gap = ["", " ", "\r\n\t", " (a@b.c, \\( \"(x))\r\n "][*gap];
            let address = format!("{local}@{domain}");
            text += &match form {
                0 => format!("{gap}{address}{gap},"),
                1 => format!("{gap}<{gap}{address}{gap}>{gap},"),
                2 => format!("{gap}Mr. X{gap}<{address}>,"),
                3 => format!("{gap}\"x@y.test, \\\" <z@z.test>\"{gap}<{address}>{gap},"),
                4 => format!("{gap}=?utf-8?q?=2C=40?={gap} y <{address}>,"),
                _ => format!("{gap}a group{gap}:{gap}{address}{gap};{gap},"),
            };
        }
        let wanted: Vec<_> = parts.iter().map(|(_, local, domain, _)| format!("{local}@{domain}")).collect();
        prop_assert_eq!(read(&text), Ok(wanted), "{:?}", text);
    }
}

#[test]
fn a_bare_name_gets_the_domain_only_where_it_may() {
    let texts = |value: &str| -> Result<Vec<String>, MailboxError> {
        let found = mailboxes_at(value.as_bytes(), "host.test")?;
        Ok(found.iter().map(|address| address.as_str().to_owned()).collect())
    };
    assert_eq!(
        texts("root, Ann <ann>, <bob>, a@b.test, team: x, y;").unwrap(),
        [
            "root@host.test",
            "ann@host.test",
            "bob@host.test",
            "a@b.test",
            "x@host.test",
            "y@host.test"
        ]
    );
    for wrong in ["two words", "ann <b", "x y, z", "<>", "a@"] {
        assert!(texts(wrong).is_err(), "{wrong}");
    }
    for bare in ["root", "Ann <ann>", "a@b.test, c"] {
        assert!(mailboxes(bare.as_bytes()).is_err(), "{bare}");
    }
}
