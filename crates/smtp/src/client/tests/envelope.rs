//! Parameters of MAIL and RCPT, and messages that a server cannot take.

use super::{after_ehlo, message, play};

#[track_caller]
fn refused(extensions: &str, words: &str) -> String {
    let mut client = play(false, &after_ehlo(extensions, ""));
    let reply = client.begin(message(words)).unwrap_err();
    assert!(client.output().is_empty() && client.is_usable());
    format!("{} {}", reply.code, reply.enhanced.unwrap())
}

/// What is said for a message: MAIL and RCPT.
#[track_caller]
fn said(extensions: &str, words: &str) -> String {
    let mut client = play(
        false,
        &after_ehlo(&format!("S: 250-PIPELINING\n{extensions}"), ""),
    );
    client.begin(message(words)).unwrap();
    let said = String::from_utf8(std::mem::take(client.output())).unwrap();
    let said = said
        .strip_suffix("DATA\r\n")
        .unwrap_or(&said)
        .replace("\r\n", "|");
    said.replace("MAIL FROM:", "").replace("RCPT TO:", "")
}

#[test]
fn what_a_server_cannot_take() {
    let table = [
        ("", "a@x.test b@y.test 8bit", "554 5.6.3"),
        ("S: 250-SIZE 4999", "a@x.test b@y.test big", "552 5.3.4"),
        ("S: 250-CHUNKING", "a@x.test b@y.test binary", "554 5.6.1"),
        ("S: 250-BINARYMIME", "a@x.test b@y.test binary", "554 5.6.1"),
        ("", "ä@x.test b@y.test", "550 5.6.7"),
        ("", "a@x.test b@y.test ö@y.test", "550 5.6.7"),
        (
            "S: 250-8BITMIME",
            "a@x.test b@y.test smtputf8 utf8header",
            "550 5.6.7",
        ),
        ("", "a@x.test", "554 5.5.1"),
    ];
    for (extensions, words, expected) in table {
        assert_eq!(refused(extensions, words), expected, "{words}");
    }
}

#[test]
fn parameters_are_said_where_they_are_offered() {
    let dsn = "a@x.test b@y.test ret envid orcpt notify c@y.test never";
    let table = [
        ("", "<> b@y.test", "<>|<b@y.test>|"),
        ("", "a@x.test b@y.test smtputf8", "<a@x.test>|<b@y.test>|"),
        (
            "S: 250-SIZE",
            "a@x.test b@y.test big",
            "<a@x.test> SIZE=5000|<b@y.test>|",
        ),
        (
            "S: 250-SIZE 5000",
            "a@x.test b@y.test big",
            "<a@x.test> SIZE=5000|<b@y.test>|",
        ),
        ("S: 250-8BITMIME", "a@x.test b@y.test", "<a@x.test>|<b@y.test>|"),
        (
            "S: 250-8BITMIME",
            "a@x.test b@y.test 8bit",
            "<a@x.test> BODY=8BITMIME|<b@y.test>|",
        ),
        (
            "S: 250-8BITMIME",
            "a@x.test b@y.test utf8header",
            "<a@x.test> BODY=8BITMIME|<b@y.test>|",
        ),
        (
            "S: 250-SMTPUTF8",
            "ä@x.test b@y.test",
            "<ä@x.test> SMTPUTF8|<b@y.test>|",
        ),
        (
            "S: 250-SMTPUTF8",
            "a@x.test b@y.test smtputf8",
            "<a@x.test> SMTPUTF8|<b@y.test>|",
        ),
        ("", dsn, "<a@x.test>|<b@y.test>|<c@y.test>|"),
        (
            "S: 250-DSN",
            dsn,
            "<a@x.test> RET=HDRS ENVID=id+2B1|\
             <b@y.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2B@x.test|<c@y.test> NOTIFY=NEVER|",
        ),
        (
            "S: 250-DSN",
            "a@x.test b@y.test bad-envid",
            "<a@x.test>|<b@y.test>|",
        ),
    ];
    for (extensions, words, expected) in table {
        assert_eq!(said(extensions, words), expected, "{extensions} {words}");
    }
}
