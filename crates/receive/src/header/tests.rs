use super::*;
use proptest::prelude::*;

fn divided(content: &[u8], sizes: &[usize]) -> Option<Parts> {
    let mut held = Held::new(10_000);
    let mut rest = content;
    let mut sizes = sizes.iter().cycle();
    let mut parts: Option<Parts> = None;
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        let (chunk, more) = rest.split_at(size);
        rest = more;
        match &mut parts {
            Some(parts) => parts.body.extend_from_slice(chunk),
            None => match held.push(chunk) {
                Taken::More => {}
                Taken::Ended(ended) => parts = Some(ended),
                Taken::TooLarge => return None,
            },
        }
    }
    Some(parts.unwrap_or_else(|| Parts {
        header: held.finish(),
        body: Vec::new(),
    }))
}

fn parts(header: &str, body: &str) -> Option<Parts> {
    Some(Parts {
        header: header.into(),
        body: body.into(),
    })
}

#[test]
fn content_is_divided_wherever_it_is_split() {
    for (content, expected) in [
        ("A: b\r\n\r\nbody\r\n", parts("A: b\r\n", "body\r\n")),
        ("A: b\r\n c\r\nD: e\r\n\r\n", parts("A: b\r\n c\r\nD: e\r\n", "")),
        ("A: b\r\n", parts("A: b\r\n", "")),
        ("\r\nbody\r\n", parts("", "body\r\n")),
        (
            "Hello, no header\r\n\r\nhere\r\n",
            parts("", "Hello, no header\r\n\r\nhere\r\n"),
        ),
        (
            "A: b\r\nno field\r\n\r\nx\r\n",
            parts("A: b\r\nno field\r\n", "x\r\n"),
        ),
        ("", parts("", "")),
    ] {
        for size in 1..=content.len().max(1) {
            assert_eq!(
                divided(content.as_bytes(), &[size]),
                expected,
                "{content:?} by {size}"
            );
        }
    }
}

#[test]
fn a_header_is_not_held_without_limit() {
    let mut held = Held::new(10);
    assert_eq!(held.push(b"A: 456789\r\n"), Taken::TooLarge);
    assert_eq!(held.octets.capacity(), 0);
    let mut held = Held::new(10);
    assert_eq!(
        held.push(b"A: 45678\r\n\r\nmuch longer than that"),
        Taken::Ended(Parts {
            header: b"A: 45678\r\n".into(),
            body: b"much longer than that".into(),
        })
    );
    let mut held = Held::new(10);
    assert_eq!(
        held.push(b"A: 456789\r\n\r\n"),
        Taken::TooLarge,
        "whole, and too large"
    );
}

fn complete(header: &str, sender: Option<&str>) -> Result<String, Reply> {
    let sender = sender.map(|text| Address::parse(text).unwrap());
    let mail = Completion {
        sender: sender.as_ref(),
        hostname: "mx.example",
        id: "01ID",
        received_at: Timestamp::from_second(1_700_000_000).unwrap(),
    };
    completed(header.as_bytes(), &mail).map(|octets| String::from_utf8(octets).unwrap())
}

#[test]
fn what_is_missing_is_added_and_hidden_recipients_are_taken_out() {
    assert_eq!(
        complete("Subject: x\r\nbCC: a@x.example,\r\n\tb@x.example\r\nTo: c@x.example\r\nResent-Bcc : d@x.example\r\n", Some("ann@x.example")).unwrap(),
        "Subject: x\r\nTo: c@x.example\r\nFrom: <ann@x.example>\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n\
         Message-ID: <01ID@mx.example>\r\n"
    );
    let whole = "FROM: a@x.example\r\ndate: today\r\nMessage-Id: <1@x>\r\n";
    assert_eq!(complete(whole, None).unwrap(), whole);
    assert_eq!(complete("", None).unwrap_err().code, 550);
}

#[test]
fn colons_stand_right_behind_names() {
    for (header, expected) in [
        ("Subject : x\r\nTo\t \t:y:z\r\n", "Subject: x\r\nTo:y:z\r\n"),
        ("Subject\r\n : x\r\n y\r\n", "Subject: x\r\n y\r\n"),
        ("Subject :", "Subject:"),
        ("Subject:  x : y\r\n", "Subject:  x : y\r\n"),
        (" no field\r\n : none\r\n", " no field\r\n : none\r\n"),
        ("two words : x\r\n", "two words : x\r\n"),
        ("", ""),
    ] {
        assert_eq!(plain_names(header.as_bytes()), expected.as_bytes(), "{header:?}");
    }
}

#[test]
fn every_address_of_the_authors_and_the_sender_is_asked_about() {
    let asked = |header: &str| {
        let seen = std::cell::RefCell::new(Vec::new());
        let result = check_author(header.as_bytes(), |addresses| {
            seen.borrow_mut()
                .extend(addresses.iter().map(|address| address.as_str().to_owned()));
            Ok(())
        });
        result.map(|()| seen.into_inner().join(" "))
    };
    assert_eq!(
        asked("From: Ann <ann@x.example>, \"b@ok\" <bo@y.example>\r\nSender: c@z.example\r\n").unwrap(),
        "ann@x.example bo@y.example c@z.example"
    );
    assert_eq!(asked("Subject: x\r\n").unwrap(), "");
    for header in [
        "From: a@x.example\r\nFrom: b@x.example\r\n",
        "From: a@x.example\r\nFrom : b@x.example\r\n",
        "From:\r\n",
        "From: nobody\r\n",
        "From: a@x.example\r\nno field\r\n",
        "From: a@x.example\r\nSender: b@x.example, c@x.example\r\n",
    ] {
        assert_eq!(asked(header).unwrap_err().code, 550, "{header}");
    }
    let refused = check_author(b"From: a@x.example\r\n", |_| {
        Err(Reply::new(550, Enhanced(5, 7, 1), "no"))
    });
    assert_eq!(refused.unwrap_err().enhanced, Some(Enhanced(5, 7, 1)));
}

proptest! {
    #[test]
    fn nothing_is_lost_or_added_by_dividing(content in "([A-Z]: x|[ a:]{0,3}|\r\n){0,12}", sizes in proptest::collection::vec(1usize..9, 1..4)) {
        let whole = divided(content.as_bytes(), &[usize::MAX]).unwrap();
        let split = divided(content.as_bytes(), &sizes).unwrap();
        prop_assert_eq!(&whole, &split);
        let separators = content.len() - whole.header.len() - whole.body.len();
        prop_assert!(separators == 0 || separators == 2);
    }
}
