use super::*;

fn authors(header: &str) -> Result<Vec<String>, HeaderError> {
    Header::new(header.as_bytes())
        .authors()
        .map(|found| found.iter().map(ToString::to_string).collect())
}

#[test]
fn fields_tile_the_section() {
    let text: &[u8] = b"A: 1\r\nB : 2\r\n\t3\r\nno field\r\nC:\r\n\r\nBody: x\r\n";
    let header = Header::new(text);
    let fields: Vec<_> = header.fields().collect();
    let names: Vec<_> = fields.iter().map(|field| field.name).collect();
    assert_eq!(names, ["A", "B", "", "C"]);
    assert_eq!(fields[1].value, b" 2\r\n\t3");
    assert_eq!(fields[2].value, b"no field");
    assert_eq!(&text[fields[1].range.clone()], b"B : 2\r\n\t3\r\n");
    let mut at = 0;
    for field in &fields {
        assert_eq!(field.range.start, at);
        at = field.range.end;
    }
    assert_eq!(at, header.octets().len());
    assert_eq!(header.find("b").count(), 1);
}

#[test]
fn sections_that_end_early() {
    assert_eq!(Header::new(b"").fields().count(), 0);
    assert_eq!(Header::new(b"\r\nFrom: a@x.test\r\n").fields().count(), 0);
    assert_eq!(Header::new(b"A: 1").fields().next().unwrap().value, b" 1");
    assert_eq!(Header::new(b"A: 1\r\n").fields().next().unwrap().value, b" 1");
}

#[test]
fn the_author() {
    let header =
        "Subject: x\r\nFROM \t: \"A, B\"\r\n <a@x.test>\r\nTo: evil@y.test\r\n\r\nFrom: evil@y.test\r\n";
    assert_eq!(authors(header).unwrap(), ["a@x.test"]);
    assert_eq!(
        authors("From: a@x.test, b@y.test\r\n").unwrap(),
        ["a@x.test", "b@y.test"]
    );
}

#[test]
fn nobody_hides_behind_another_author() {
    let several = HeaderError::Several("From");
    let cases = [
        ("From: a@x.test\r\nFrom: evil@y.test\r\n", several.clone()),
        ("From: a@x.test\r\nfrom\t : evil@y.test\r\n", several.clone()),
        ("From: a@x.test\r\nFrom\r\n : evil@y.test\r\n", several.clone()),
        ("From: a@x.test\r\nX: y\r\n \r\nFrom: evil@y.test\r\n", several),
        (
            "X: y\nFrom: evil@y.test\r\nFrom: a@x.test\r\n",
            HeaderError::BareLineEnd,
        ),
        (
            "X: y\rFrom: evil@y.test\r\nFrom: a@x.test\r\n",
            HeaderError::BareLineEnd,
        ),
        ("\nX: y\r\nFrom: a@x.test\r\n", HeaderError::BareLineEnd),
        ("From: a@x.test\r\nX: y\r", HeaderError::BareLineEnd),
        (" From: evil@y.test\r\nFrom: a@x.test\r\n", HeaderError::NotAField),
        ("From evil@y.test\r\nFrom: a@x.test\r\n", HeaderError::NotAField),
        ("Fr om: evil@y.test\r\nFrom: a@x.test\r\n", HeaderError::NotAField),
        (
            "\u{feff}From: evil@y.test\r\nFrom: a@x.test\r\n",
            HeaderError::NotAField,
        ),
        (
            "Fro\0m: evil@y.test\r\nFrom: a@x.test\r\n",
            HeaderError::NotAField,
        ),
        (": evil@y.test\r\nFrom: a@x.test\r\n", HeaderError::NotAField),
        ("To: a@x.test\r\n", HeaderError::Missing("From")),
        ("From:\r\n", HeaderError::Missing("From")),
        ("From: undisclosed: ;\r\n", HeaderError::Missing("From")),
        (
            "From: a@x.test b\r\n",
            HeaderError::Mailboxes("From", MailboxError::Syntax),
        ),
    ];
    for (header, wanted) in cases {
        assert_eq!(authors(header), Err(wanted), "{header:?}");
    }
}

#[test]
fn the_sender() {
    let sender = |text: &str| {
        let sender = Header::new(text.as_bytes()).sender();
        sender.map(|found| found.map(|address| address.to_string()))
    };
    assert_eq!(sender("From: a@x.test\r\n"), Ok(None));
    assert_eq!(
        sender("Sender: B <b@x.test>\r\n"),
        Ok(Some("b@x.test".to_owned()))
    );
    assert_eq!(
        sender("Sender: b@x.test, c@x.test\r\n"),
        Err(HeaderError::Several("Sender"))
    );
    assert_eq!(
        sender("Sender: b@x.test\r\nsender: c@x.test\r\n"),
        Err(HeaderError::Several("Sender"))
    );
    assert_eq!(sender("Sender: ()\r\n"), Err(HeaderError::Missing("Sender")));
}

#[test]
fn half_a_million_fields_are_read_once() {
    let text = "From: a@x.test\r\n \r\n".repeat(500_000);
    assert_eq!(Header::new(text.as_bytes()).fields().count(), 500_000);
    assert_eq!(authors(&text), Err(HeaderError::Several("From")));
}
