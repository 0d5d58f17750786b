//! What a server said it can do, read from its reply to EHLO.

use super::auth::is_mechanism;
use crate::reply::Reply;

/// Most mechanisms kept.
const MECHANISMS: usize = 32;

/// What a server said it can do (RFC 5321 4.1.1.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It answered EHLO rather than HELO.
    pub extended: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE (RFC 1870): `Some(0)` is "no fixed limit".
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030).
    pub binary_mime: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// The mechanisms of AUTH (RFC 4954), in capital letters, in the server's order; also those of the old form
    /// `AUTH=LOGIN`. At most 32, and only what can be the name of one.
    pub auth: Vec<String>,
    /// LIMITS RCPTMAX (RFC 9422).
    pub rcpt_max: Option<usize>,
    /// LIMITS MAILMAX (RFC 9422).
    pub mail_max: Option<usize>,
}

impl Capabilities {
    /// Reads them from a positive reply to EHLO. The first line is the server's name; keywords have no
    /// case; what is unknown is passed over, and a limit that cannot be read is no limit.
    pub fn from_ehlo(reply: &Reply) -> Self {
        let mut capabilities = Capabilities {
            extended: true,
            ..Self::default()
        };
        for line in reply.text.split('\n').skip(1) {
            let mut words = line.split_ascii_whitespace();
            if let Some(keyword) = words.next() {
                capabilities.add(&keyword.to_ascii_uppercase(), words);
            }
        }
        capabilities
    }

    fn add<'a>(&mut self, keyword: &str, mut words: impl Iterator<Item = &'a str>) {
        match keyword {
            "PIPELINING" => self.pipelining = true,
            "SIZE" => self.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0)),
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "DSN" => self.dsn = true,
            "STARTTLS" => self.starttls = true,
            "LIMITS" => words.for_each(|word| self.add_limit(word)),
            "AUTH" => words.for_each(|word| self.add_mechanism(word)),
            _ => {
                if let Some(first) = keyword.strip_prefix("AUTH=") {
                    self.add_mechanism(first);
                    words.for_each(|word| self.add_mechanism(word));
                }
            }
        }
    }

    fn add_mechanism(&mut self, word: &str) {
        let name = word.to_ascii_uppercase();
        if self.auth.len() < MECHANISMS && is_mechanism(&name) && !self.auth.contains(&name) {
            self.auth.push(name);
        }
    }

    /// `RCPTMAX=100`. A limit of nothing would make the server useless, and is none.
    fn add_limit(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else {
            return;
        };
        let limit = value.parse().ok().filter(|&n: &usize| n > 0);
        if name.eq_ignore_ascii_case("RCPTMAX") {
            self.rcpt_max = limit;
        } else if name.eq_ignore_ascii_case("MAILMAX") {
            self.mail_max = limit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> Capabilities {
        Capabilities::from_ehlo(&Reply::plain(250, text))
    }

    #[test]
    fn everything_we_know() {
        let all = of(
            "mx.test greets\nPIPELINING\nSIZE 1000\n8BITMIME\nSMTPUTF8\nCHUNKING\nBINARYMIME\nDSN\n\
                      STARTTLS\nLIMITS RCPTMAX=7 MAILMAX=3 OTHER=1\nAUTH PLAIN\nENHANCEDSTATUSCODES",
        );
        let expected = Capabilities {
            extended: true,
            pipelining: true,
            size: Some(1000),
            eight_bit_mime: true,
            smtputf8: true,
            chunking: true,
            binary_mime: true,
            dsn: true,
            starttls: true,
            auth: vec!["PLAIN".into()],
            rcpt_max: Some(7),
            mail_max: Some(3),
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn mechanisms_of_auth() {
        let old = of("mx\nAUTH=LOGIN PLAIN\nauth plain scram-sha-256 X.Y =\nAUTH=\nAUTH");
        assert_eq!(old.auth, ["LOGIN", "PLAIN", "SCRAM-SHA-256"]);
        let many: String = (0..100).map(|n| format!(" M{n}")).collect();
        let reply = Reply::with(250, crate::Enhanced(2, 0, 0), format!("mx\nAUTH{many}"));
        assert_eq!(Capabilities::from_ehlo(&reply).auth.len(), MECHANISMS);
    }

    #[test]
    fn sloppy_lines() {
        let none = Capabilities {
            extended: true,
            ..Capabilities::default()
        };
        assert_eq!(of("PIPELINING"), none, "the first line is a name");
        assert_eq!(of("mx\n\n \nX-PIPELINING\nPIPELINING-X"), none);
        assert!(of("mx\n  pipelining ").pipelining);
        for size in [
            "mx\nSIZE",
            "mx\nsize x",
            "mx\nSIZE -1",
            "mx\nSIZE 99999999999999999999",
        ] {
            assert_eq!(of(size).size, Some(0));
        }
        let limits = of("mx\nlimits rcptmax=5 MAILMAX=0 RCPTMAX");
        assert_eq!((limits.rcpt_max, limits.mail_max), (Some(5), None));
    }
}
