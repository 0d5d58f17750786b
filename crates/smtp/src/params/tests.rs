use super::*;
use proptest::prelude::*;

fn mail(text: &str) -> Result<MailParams, ParamError> {
    MailParams::parse(text, true)
}

fn rcpt(text: &str) -> Result<RcptParams, ParamError> {
    RcptParams::parse(text)
}

#[test]
fn mail_parameters() {
    assert_eq!(mail("  "), Ok(MailParams::default()));
    let params = mail(" size=10 BODY=8bitmime  SMTPUTF8\tRET=hdrs ENVID=QQ+2B314 ").unwrap();
    assert_eq!(
        params,
        MailParams {
            size: Some(10),
            body: BodyType::EightBitMime,
            smtputf8: true,
            ret: Some(Ret::Headers),
            envid: Some("QQ+2B314".into())
        }
    );
    assert_eq!(mail("SIZE=99999999999999999999").unwrap().size, Some(u64::MAX));
    assert_eq!(mail("BODY=7BIT").unwrap().body, BodyType::SevenBit);
    assert_eq!(mail("BODY=BINARYMIME").unwrap().body, BodyType::BinaryMime);
}

#[test]
fn rcpt_parameters() {
    let params = rcpt("NOTIFY=SUCCESS,delay ORCPT=rfc822;a+2Bb@x").unwrap();
    assert_eq!(params.notify, Some(Notify::SUCCESS.with(Notify::DELAY)));
    let orcpt = params.orcpt.unwrap();
    assert_eq!(
        (orcpt.address_type(), orcpt.address().as_str()),
        ("rfc822", "a+b@x")
    );
    assert_eq!(rcpt("NOTIFY=never").unwrap().notify, Some(Notify::NEVER));
}

#[test]
fn unknown_duplicate_malformed() {
    assert_eq!(mail("FOO=1"), Err(ParamError::Unknown("FOO".into())));
    assert_eq!(mail("NOTIFY=NEVER"), Err(ParamError::Unknown("NOTIFY".into())));
    assert_eq!(rcpt("SIZE=1"), Err(ParamError::Unknown("SIZE".into())));
    assert_eq!(mail("SIZE=1 size=1"), Err(ParamError::Duplicate("size".into())));
    assert_eq!(
        mail("BODY=7BIT BODY=7BIT"),
        Err(ParamError::Duplicate("BODY".into()))
    );
    for text in [
        "SIZE",
        "SIZE=",
        "SIZE=-1",
        "SIZE=+1",
        "SIZE=1x",
        "SIZE=999999999999999999999",
        "BODY=",
        "BODY=9BIT",
        "BODY",
        "SMTPUTF8=1",
        "RET=ALL",
        "ENVID=",
        "ENVID=a=b",
        "ENVID=+0A",
        "ENVID=+ZZ",
        "ENVID=+C3+A9",
        "=x",
        "-a=b",
        "a_b",
    ] {
        assert!(matches!(mail(text), Err(ParamError::Malformed(_))), "{text}");
    }
    for text in [
        "NOTIFY=NEVER,DELAY",
        "NOTIFY=",
        "NOTIFY=,",
        "NOTIFY=X",
        "ORCPT=rfc822",
        "ORCPT=;a",
        "ORCPT=rfc822;",
        "ORCPT=rfc822;a+0D+0Ab",
        "ORCPT=rfc822;a+",
        "ORCPT=utf-8;\\x{0A}",
        "ORCPT=utf-8;\\n",
        "ORCPT=a(b;c",
    ] {
        assert!(matches!(rcpt(text), Err(ParamError::Malformed(_))), "{text}");
    }
    assert!(mail(&format!("ENVID={}", "a".repeat(101))).is_err());
    assert!(rcpt(&format!("ORCPT=rfc822;{}", "a".repeat(500))).is_err());
}

#[test]
fn orcpt_in_utf8() {
    let address = |value: &str| Orcpt::parse(value).map(|orcpt| orcpt.address());
    assert_eq!(address("utf-8;j\\x{F6}rg@x"), Some("jörg@x".into()));
    assert_eq!(address("UTF-8;jörg@x"), Some("jörg@x".into()));
    assert_eq!(address("utf-8;\\x{D800}"), None);
}

#[test]
fn xtext_of_the_rfc() {
    assert_eq!(xtext_encode("a+b=c d"), "a+2Bb+3Dc+20d");
    assert_eq!(xtext_decode("a+2bb+3Dc"), Some("a+b=c".into()));
    for text in ["+", "+4", "a b", "=", "é", "+G0", "+FF"] {
        assert_eq!(xtext_decode(text), None, "{text}");
    }
}

#[test]
fn notify_bits_come_back() {
    for bits in 0..=7 {
        assert_eq!(Notify::from_bits(bits).map(Notify::bits), Some(bits));
    }
    assert_eq!(Notify::from_bits(8), None);
}

proptest! {
    #[test]
    fn xtext_round_trip(text in "\\PC{0,60}") {
        let encoded = xtext_encode(&text);
        prop_assert!(encoded.bytes().all(|c| c.is_ascii_graphic()));
        if !text.contains(char::is_control) {
            prop_assert_eq!(xtext_decode(&encoded), Some(text));
        }
    }

    #[test]
    fn any_text_is_answered(text in "(SIZE|BODY|RET|ENVID|ORCPT|NOTIFY|SMTPUTF8|[ =;+\\\\x{}]|\\PC){0,30}") {
        let _ = mail(&text);
        let _ = Orcpt::parse(&text);
        if let Ok(RcptParams { orcpt: Some(orcpt), .. }) = rcpt(&text) {
            prop_assert!(!orcpt.address().contains(char::is_control));
            prop_assert_eq!(Orcpt::parse(orcpt.as_str()), Some(orcpt));
        }
    }
}
