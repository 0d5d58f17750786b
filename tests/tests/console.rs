//! The console in a real browser.

use blackbox::browser::Browser;
use blackbox::ports::free_port;
use blackbox::server::{PASSWORD, Server, Setup};
use blackbox::sink::{Act, Moment, Sink};
use blackbox::tools::{self, program, run};
use blackbox::wait_for;
use blackbox::wire::{Wire, queue_id};
use std::path::PathBuf;

/// Logs in, as a person does.
fn log_in(browser: &Browser, server: &Server) {
    browser.open(&format!("http://{}/", server.http));
    wait_for("the login", || browser.url().ends_with("/ui/login"));
    browser.type_into("#password", PASSWORD);
    browser.click("main button");
    browser.wait_text("Queue by state");
}

fn swaks(server: &Server, more: &[&str]) {
    let mut swaks = program("/usr/bin/swaks");
    swaks.args(["--server", &server.smtp.to_string(), "--from", "app@x.test"]);
    run(swaks.args(more));
}

/// Nothing was loaded from elsewhere, and nothing was forbidden.
fn no_complaints(browser: &Browser) {
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");
}

/// Keeps a picture for the documentation, where it is asked for.
fn picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("SMTP_SCREENSHOTS") {
        std::fs::write(
            PathBuf::from(folder).join(format!("{name}.png")),
            browser.picture(),
        )
        .expect("write the picture");
    }
}

#[test]
fn captured_mail_appears_by_itself_and_can_do_no_harm() {
    let server = Setup::new(
        "[[domains]]\nname = \"y.test\"\ndeliver = \"capture\"\n[relay]\nnetworks = [\"127.0.0.0/8\"]\n",
    )
    .start();
    let browser = Browser::start(false);
    log_in(&browser, &server);
    no_complaints(&browser);
    browser.click("nav a[href='/ui/captured']");
    browser.wait_text("0 messages captured.");
    // No click from here on: the message comes to the page.
    browser.run("window.here = 'the same page'");
    let tracker = std::net::TcpListener::bind("127.0.0.1:0").expect("a tracker");
    tracker.set_nonblocking(true).expect("nonblocking");
    let html = format!(
        "<h1>Your invoice</h1><script>parent.document.title = 'hijacked'</script><img src=\"http://{}/tracker.png\"><p>Pay <b>today</b>.</p>",
        tracker.local_addr().expect("address")
    );
    swaks(
        &server,
        &[
            "--to",
            "ann@y.test",
            "--header",
            "Subject: Invoice 17",
            "--add-header",
            "MIME-Version: 1.0",
            "--add-header",
            "Content-Type: text/html",
            "--body",
            &html,
        ],
    );
    browser.wait_text("1 message captured.");
    browser.wait_text("Invoice 17");
    assert_eq!(browser.run("return window.here"), "the same page");
    no_complaints(&browser);
    picture(&browser, "captured");
    browser.click("main table a");
    browser.wait_text("Remote content is off");
    browser.enter(Some("iframe"));
    browser.wait_text("Your invoice");
    browser.enter(None);
    assert!(
        browser
            .run("return document.title")
            .as_str()
            .expect("title")
            .starts_with("Captured mail")
    );
    // The picture is not even asked for, and the script did not run.
    let asked = tracker.accept().map(|_| ()).map_err(|error| error.kind());
    assert_eq!(asked, Err(std::io::ErrorKind::WouldBlock));
    // Found by what is in it, and deleted.
    browser.open(&format!("http://{}/ui/captured?q=pay", server.http));
    browser.wait_text("Invoice 17");
    browser.open(&format!("http://{}/ui/captured?q=nothing+like+it", server.http));
    assert!(!browser.text().contains("Invoice 17"));
    browser.open(&format!("http://{}/ui/captured", server.http));
    browser.click("main table a");
    browser.click("button[value='delete']");
    browser.wait_text("0 messages captured.");
}

#[test]
fn an_operator_retries_a_deferred_message_and_suspends_its_destination() {
    let refuses = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let asked = refuses.clone();
    let sink = Sink::scripted(move |_, moment| match moment {
        Moment::Command(line)
            if line.starts_with("RCPT") && asked.load(std::sync::atomic::Ordering::SeqCst) =>
        {
            Act::Say("451 4.7.1 greylisted, come again".into())
        }
        _ => Act::Default,
    });
    let server = Server::with(&(sink.relay_config() + "[delivery]\nretry_initial = 300\n"));
    let reply = Wire::hello(server.smtp).mail("a@x.test", &["b@y.test"], "Subject: late\r\n\r\ntext\r\n");
    let id = queue_id(&reply);
    wait_for("it to be deferred", || {
        server.metric("smtp_queue_recipients{state=\"deferred\"}") == 1.0
    });
    let browser = Browser::start(false);
    log_in(&browser, &server);
    picture(&browser, "overview");
    browser.click("nav a[href='/ui/queue']");
    browser.wait_text("greylisted, come again");
    picture(&browser, "queue");
    // Ticked, counted, done.
    refuses.store(false, std::sync::atomic::Ordering::SeqCst);
    browser.click(&format!("input[value='{id}']"));
    browser.click("button[value='retry']");
    browser.wait_text("retry would touch 1 message.");
    assert_eq!(sink.count(), 0, "asking changes nothing");
    browser.click("main form button");
    browser.wait_text("retry: 1 message.");
    sink.wait(1);
    server.wait_empty();
    browser.open(&format!("http://{}/ui/queue/{id}", server.http));
    browser.wait_text("It is not in the queue any more.");
    for step in [
        "received",
        "delivery",
        "operated",
        "removed",
        "451 4.7.1 greylisted, come again",
    ] {
        assert!(browser.text().contains(step), "{step}: {}", browser.text());
    }
    picture(&browser, "message");
    // Suspended by a form, and mail waits.
    browser.click("nav a[href='/ui/destinations']");
    browser.type_into("#name", "y.test");
    browser.type_into("#reason", "their server is moved");
    browser.click("button[value='suspend']");
    browser.wait_text("domain y.test since ");
    picture(&browser, "destinations");
    Wire::hello(server.smtp).mail("a@x.test", &["c@y.test"], "Subject: waits\r\n\r\ntext\r\n");
    browser.click("nav a[href='/ui/queue']");
    browser.wait_text("c@y.test: queued, suspended");
    assert_eq!(sink.count(), 1);
    browser.click("nav a[href='/ui/destinations']");
    browser.click("button[value='resume']");
    browser.wait_text("Nothing is suspended.");
    sink.wait(2);
    browser.click("nav a[href='/ui/audit']");
    for action in ["queue.retry", "queue.suspend", "queue.resume"] {
        browser.wait_text(action);
    }
    no_complaints(&browser);
}

#[test]
fn every_page_works_in_the_dark_and_by_keyboard_and_a_wrong_password_opens_nothing() {
    let server = Server::with(&format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{}\"\n",
        free_port()
    ));
    let browser = Browser::start(true);
    browser.open(&format!("http://{}/ui/login", server.http));
    browser.type_into("#password", "a guess\n");
    browser.wait_text("That is not the admin password.");
    // Nothing but keys: the field has the focus, Enter sends.
    browser.complaints();
    browser.type_into("#password", &format!("{PASSWORD}\n"));
    browser.wait_text("Queue by state");
    let dark = browser.run("return getComputedStyle(document.body).backgroundColor");
    assert_eq!(dark, "rgb(13, 17, 23)");
    picture(&browser, "overview-dark");
    let links =
        browser.run("return [...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))");
    let links: Vec<String> = serde_json::from_value(links).expect("links");
    assert_eq!(links.len(), 10);
    for link in links {
        browser.open(&format!("http://{}{link}", server.http));
        // Every field has a name for those who do not see it, every table a caption, and there is one heading of the first level.
        let faults = browser.run(
            "return [...document.querySelectorAll('input:not([type=hidden]), select, textarea')].filter(e => !e.labels.length && !e.ariaLabel).map(e => e.name)\
               .concat([...document.querySelectorAll('main > table, main form > table')].filter(t => !t.caption).map(() => 'table'))\
               .concat(document.querySelectorAll('h1').length == 1 ? [] : ['h1'])\
               .concat(document.querySelectorAll('script:not([src]), [style], [onclick]').length ? ['inline'] : [])",
        );
        assert_eq!(faults, serde_json::json!([]), "{link}");
        let elsewhere = browser.run("return performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith(location.origin))");
        assert_eq!(elsewhere, serde_json::json!([]), "{link}");
    }
    no_complaints(&browser);
    browser.click("header form button");
    wait_for("the login", || browser.url().ends_with("/ui/login"));
    browser.open(&format!("http://{}/ui/queue", server.http));
    wait_for("the login", || browser.url().ends_with("/ui/login"));
}

#[test]
fn without_a_console_there_is_none() {
    let server = Server::with("[console]\nenabled = false\n");
    for path in ["/", "/ui/login", "/ui/queue"] {
        assert_eq!(server.get(path).0, 404, "{path}");
    }
    assert_eq!(server.get("/health/live").0, 200);
}

#[test]
fn an_account_is_made_used_and_disabled() {
    let sink = Sink::start();
    let server = Server::with(&sink.relay_config());
    let browser = Browser::start(false);
    log_in(&browser, &server);
    browser.click("nav a[href='/ui/directory']");
    browser.click("main details:nth-of-type(2) summary");
    browser.type_into("#account-name", "billing&co");
    browser.type_into("#account-senders", "*@x.test\n*@z.test");
    browser.click("main details:nth-of-type(2) button");
    browser.wait_text("It is shown this once:");
    let secret = browser.run("return document.querySelector('#secret').innerText");
    let secret = secret.as_str().expect("a secret").to_owned();
    let submit = || {
        let mut swaks = tools::swaks(server.submission(), "billing&co", &secret);
        swaks.args(["--from", "app@x.test", "--to", "b@y.test"]);
        swaks.output().expect("swaks").status.success()
    };
    assert!(submit());
    sink.wait(1);
    browser.click("main a");
    browser.wait_text("*@x.test, *@z.test");
    picture(&browser, "directory");
    browser.click("tbody a");
    browser.wait_text("It may log in.");
    browser.click("input[name=enabled] + button");
    browser.wait_text("It may not log in.");
    assert!(!submit());
    no_complaints(&browser);
}
