//! Messages chosen by hand.

use super::*;

const HEADER: &[u8] =
    b"From: Ann <ann@example.com>\r\nTo: bob@y.test\r\nSubject: Hello\r\nDate: Mon, 1 Jan 2026 00:00:00 +0000\r\n";

fn text(fields: Vec<u8>) -> String {
    String::from_utf8(fields).unwrap()
}

#[test]
fn the_field_as_it_is_written() {
    let header = b"Received: by x\r\nReturn-Path: <>\r\nBcc: z@x.test\r\nDKIM-Signature: x\r\nCc: a@x.test\r\nfrom : a@x.test\r\n\
        List-Id: x\r\nCC: b@x.test\r\nResent-Bcc: c@x.test\r\n\r\n";
    let lifetime = Some(Duration::from_secs(86_400));
    let signer = Signer::new(header, &[Arc::clone(&ED25519)], 1_800_000_000, lifetime).unwrap();
    let field = text(signer.finish().unwrap());
    let (head, signature) = field.split_once("\tb=").unwrap();
    assert_eq!(
        head,
        "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com;\r\n\
         \ts=ed; t=1800000000; x=1800086400; h=From:From:To:Cc:Cc:Cc:Subject:Date:\r\n\
         \tReply-To:MIME-Version:Content-Type:Content-Transfer-Encoding:List-Id;\r\n\
         \tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n"
    );
    assert!(signature.ends_with("==\r\n"));
}

#[test]
fn the_message_of_rfc_8463() {
    let message = include_bytes!("rfc8463.eml");
    let message = text(message.to_vec()).replace('\n', "\r\n");
    let public = STANDARD
        .decode("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
        .unwrap();
    // That the verifier is one.
    assert_eq!(verify(message.as_bytes(), &public), Ok(()));
    let changed = message.replace("hungry", "Hungry");
    assert_eq!(verify(changed.as_bytes(), &public), Err("body hash"));
    let changed = message.replace("Suzie", "Susie");
    assert_eq!(verify(changed.as_bytes(), &public), Err("signature"));
    // That we hash the body alike.
    let (header, body) = message.split_once("\r\n\r\n").unwrap();
    let mut hash = BodyHash::new();
    hash.update(body.as_bytes());
    assert_eq!(
        STANDARD.encode(hash.finish()),
        "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
    );
    // That the header hashes alike, and signing it gives the very signature: Ed25519 knows no chance.
    let header = format!("{header}\r\n");
    let mut hashed = Context::new(&SHA256);
    for name in ["from", "to", "subject", "date", "message-id"] {
        let field = Header::new(header.as_bytes()).find(name).next().unwrap();
        let mut relaxed = Vec::new();
        canonical::field(&field, &mut relaxed);
        relaxed.extend_from_slice(b"\r\n");
        hashed.update(&relaxed);
    }
    let (own, signature) = header.split_once("b=/").unwrap();
    let mut relaxed = Vec::new();
    canonical::field(&Field::of(format!("{own}b=").as_bytes()), &mut relaxed);
    hashed.update(&relaxed);
    let ours = SigningKey::from_pem(crate::key::tests::RFC_8463)
        .unwrap()
        .sign(&hashed.finish())
        .unwrap();
    let theirs: String = signature
        .split("From:")
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(STANDARD.encode(ours), format!("/{theirs}"));
}

#[test]
fn both_algorithms_sign_one_message() {
    let fields = text(sign(
        HEADER,
        b"Hi.\r\n",
        1,
        &[Arc::clone(&RSA), Arc::clone(&ED25519)],
    ));
    let second = fields.rfind("DKIM-Signature:").unwrap();
    let (rsa, ed25519) = fields.split_at(second);
    assert!(rsa.contains("a=rsa-sha256;") && ed25519.contains("a=ed25519-sha256;"));
    for (field, identity) in [(rsa, &RSA), (ed25519, &ED25519)] {
        let message = [field.as_bytes(), HEADER, b"\r\nHi.\r\n"].concat();
        assert_eq!(verify(&message, identity.key().public_key()), Ok(()));
    }
}

#[test]
fn no_identity_no_field() {
    assert_eq!(sign(HEADER, b"Hi.\r\n", 1, &[]), b"");
}

#[test]
fn lines_are_short_where_words_allow_it() {
    let references = format!("References: {}\r\n", "<x@y.test> ".repeat(100));
    let header = [HEADER, references.as_bytes(), &b"Cc: x@y.test\r\n".repeat(200)].concat();
    for line in text(sign(&header, b"", 1, &[Arc::clone(&RSA), Arc::clone(&ED25519)])).split("\r\n") {
        assert!(line.len() < 78, "{line}");
    }
    let domain = ["x".repeat(63).as_str(); 3].join(".");
    let selector = "s".repeat(40);
    let key = Arc::new(SigningKey::generate(Algorithm::Ed25519).unwrap());
    let long = Arc::new(Identity::new(&domain, &selector, key).unwrap());
    let message = signed(HEADER, b"x", &long);
    assert_eq!(verify(&message, long.key().public_key()), Ok(()));
    let longest = text(message).lines().map(str::len).max();
    assert!(longest.is_some_and(|longest| longest < 230));
}

#[test]
fn nothing_can_be_added_to_the_fields_that_readers_see() {
    let message = signed(HEADER, b"Hi.\r\n", &ED25519);
    let key = ED25519.key().public_key();
    assert_eq!(verify(&message, key), Ok(()));
    for field in [
        "From: evil@y.test\r\n",
        "to : evil@y.test\r\n",
        "Subject: Evil\r\n",
        "DATE: now\r\n",
        "Cc: evil@y.test\r\n",
        "Reply-To: evil@y.test\r\n",
        "MIME-Version: 1.0\r\n",
        "Content-Type: text/html\r\n",
        "Content-Transfer-Encoding: base64\r\n",
    ] {
        let above = [field.as_bytes(), &message].concat();
        assert_eq!(verify(&above, key), Err("signature"), "{field}");
        let at = message.len() - b"\r\nHi.\r\n".len();
        let below = [&message[..at], field.as_bytes(), &message[at..]].concat();
        assert_eq!(verify(&below, key), Err("signature"), "{field}");
    }
    // A missing field cannot be added either; a hop's fields can.
    let message = signed(b"From: a@example.com\r\n", b"", &ED25519);
    assert_eq!(
        verify(&[b"Subject: x\r\n", &message[..]].concat(), key),
        Err("signature")
    );
    assert_eq!(
        verify(&[b"Received: x\r\nX-Spam: no\r\n", &message[..]].concat(), key),
        Ok(())
    );
}

#[test]
fn a_message_that_cannot_be_signed() {
    let new = |header: &[u8]| Signer::new(header, &[Arc::clone(&ED25519)], 0, None).map(|_| ());
    assert_eq!(new(b""), Err(SignError::NoFrom));
    assert_eq!(
        new(b"To: a@x.test\r\n\r\nFrom: a@x.test\r\n"),
        Err(SignError::NoFrom)
    );
    let fields = |count| [HEADER, &b"Cc: a@x.test\r\n".repeat(count)].concat();
    assert_eq!(new(&fields(MAX_SIGNED - 4)), Ok(()));
    assert_eq!(new(&fields(MAX_SIGNED - 3)), Err(SignError::TooManyFields));
    assert_eq!(new(&fields(500_000)), Err(SignError::TooManyFields));
}

#[test]
fn a_signer_may_go_to_another_thread_and_shows_no_secret() {
    fn is_send<T: Send>(_: &T) {}
    let signer = Signer::new(HEADER, &[Arc::clone(&ED25519)], 0, None).unwrap();
    is_send(&signer);
    assert!(format!("{signer:?}").contains("SigningKey(ed25519)"));
}
