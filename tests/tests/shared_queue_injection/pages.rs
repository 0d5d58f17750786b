//! Queries and forms of the console.

use super::in_time;
use blackbox::injection::{MARK, encoded, texts};
use blackbox::server::{PASSWORD, Server, exchange, parts};
use std::net::TcpStream;

/// Pages that take something: behind `?` its names, behind `/` in place of `*`.
const QUERIES: [&str; 11] = [
    "/ui/queue?state&domain&sender&recipient&account&reason&older_than&newer_than&after&limit",
    "/ui/queue/*",
    "/ui/history?message_id&sender&recipient&account&older_than&newer_than&before&limit",
    "/ui/captured?q&after",
    "/ui/captured/*",
    "/ui/captured/*/html",
    "/ui/captured/*/source",
    "/ui/captured/*/part/*",
    "/ui/directory/entry?what=account&name&selector",
    "/ui/audit?before&limit",
    "/ui/tokens?after&limit",
];

/// Forms, with what is fixed in each.
const FORMS: [&str; 15] = [
    "/ui/queue?action=hold&meant=all&confirmed=yes&domain",
    "/ui/queue?action=delete&meant=all&confirmed=yes&sender&recipient",
    "/ui/queue?action=bounce&meant=all&confirmed=yes&reason&text",
    "/ui/queue?action=retry&confirmed=yes&ids",
    "/ui/queue?action&meant=all&account",
    "/ui/destinations?action=suspend&kind=account&name&reason",
    "/ui/destinations?action=resume&kind=account&name",
    "/ui/destinations?action=retry-webhook&name",
    "/ui/captured?action=delete&name",
    "/ui/directory?what=domain&action=add&name&deliver&recipients",
    "/ui/directory?what=account&action=add&name&login=secret&senders&quota",
    "/ui/directory?what=alias&action=add&name&to",
    "/ui/directory?what=key&action=add&domain&algorithm",
    "/ui/directory?what=account&action=add-app&name=nobody&label",
    "/ui/directory?what=account&action=remove-app&name=nobody&label",
];

/// Somebody who is logged in.
struct Person<'s> {
    server: &'s Server,
    cookie: String,
    token: String,
}

impl<'s> Person<'s> {
    fn logged_in(server: &'s Server) -> Person<'s> {
        let form = format!("user=admin&password={}", encoded(PASSWORD.as_bytes()));
        let mut person = Person {
            server,
            cookie: String::new(),
            token: String::new(),
        };
        let answer = person.say("POST", "/ui/login", &form);
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = cookie.and_then(|cookie| cookie.split(';').next());
        person.cookie = cookie.expect("a session").to_owned();
        let page = person.say("GET", "/ui/queue", "");
        let token = page
            .split_once("name=\"csrf\" value=\"")
            .and_then(|(_, rest)| rest.split('"').next());
        person.token = token.expect("the session's token").to_owned();
        person
    }

    /// A request, answered in time: the whole answer.
    fn say(&self, method: &str, path: &str, form: &str) -> String {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nConnection: close\r\nCookie: {1}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {2}\r\n\r\n{form}",
            self.server.http,
            self.cookie,
            form.len()
        );
        let what = format!("{method} {}", &path[..path.len().min(200)]);
        let stream = TcpStream::connect(self.server.http).expect("connect");
        let answer = in_time(&what, || exchange(stream, request.as_bytes()));
        let (status, body) = parts(&answer);
        assert!(
            (200..500).contains(&status) && status != 403,
            "{what}: {status} {body}"
        );
        answer
    }
}

/// A line of names, those without a value filled with this.
fn filled(names: &str, filling: &str) -> String {
    let pairs = names.split('&').map(|name| match name.contains('=') {
        true => name.to_owned(),
        false => format!("{name}={filling}"),
    });
    pairs.collect::<Vec<_>>().join("&")
}

pub(super) fn of_the_console(server: &Server) {
    let person = Person::logged_in(server);
    let mut fillings: Vec<Vec<u8>> = texts().into_iter().map(String::into_bytes).collect();
    fillings.push([MARK.as_bytes(), b"\xff\xa7; DROP TABLE audit; --"].concat());
    for filling in &fillings {
        let filling = encoded(filling);
        for page in QUERIES {
            match page.split_once('?') {
                None => drop(person.say("GET", &page.replace('*', &filling), "")),
                Some((path, names)) => {
                    // One at a time: what is wrong in one hides the others.
                    let fixed = names.split('&').filter(|name| name.contains('='));
                    let fixed = fixed.map(|name| format!("&{name}")).collect::<String>();
                    for name in names.split('&').filter(|name| !name.contains('=')) {
                        person.say("GET", &format!("{path}?{name}={filling}{fixed}"), "");
                    }
                }
            }
        }
        for form in FORMS {
            let (path, names) = form.split_once('?').expect("a form");
            person.say(
                "POST",
                path,
                &format!("csrf={}&{}", person.token, filled(names, &filling)),
            );
        }
    }
    // What operators did is shown.
    let trail = person.say("GET", "/ui/audit", "");
    assert!(trail.contains(MARK), "{trail}");
}
