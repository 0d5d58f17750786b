//! A real browser, driven by the WebDriver protocol (W3C): Debian's Chromium, without a window.

use crate::ports::free_port;
use crate::wait_for;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The key of an element's reference, by the standard.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window. Dropped, it ends.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    _folder: tempfile::TempDir,
}

impl Browser {
    /// Starts it; `dark` is what pages are told that its user prefers.
    pub fn start(dark: bool) -> Browser {
        let address = free_port();
        let folder = tempfile::tempdir().expect("a folder for the browser");
        assert!(
            Path::new("/usr/bin/chromium").exists(),
            "chromium is missing: `cargo xtask peers` installs it"
        );
        let mut driver = Command::new("/usr/bin/timeout");
        let driver = driver
            .args(["300", "/usr/bin/chromedriver"])
            .arg(format!("--port={}", address.port()))
            .env("HOME", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start chromedriver");
        let mut browser = Browser {
            driver,
            address,
            session: String::new(),
            _folder: folder,
        };
        wait_for("chromedriver", || TcpStream::connect(address).is_ok());
        let mut args = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--window-size=1280,900".into(),
            format!(
                "--user-data-dir={}",
                browser._folder.path().join("profile").display()
            ),
        ];
        if dark {
            args.push("--force-dark-mode".into());
            args.push("--blink-settings=preferredColorScheme=0".into());
        }
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": args},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let made = browser.request("POST", "/session", &wanted);
        browser.session = made["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    fn request(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_request(method, path, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn try_request(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let body = if method == "POST" {
            body.to_string()
        } else {
            String::new()
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let (status, answer) = exchange(self.address, &request).map_err(|error| json!(error.to_string()))?;
        let mut answer: Value = serde_json::from_str(&answer).unwrap_or_else(|_| json!({"value": answer}));
        match status {
            200 => Ok(answer["value"].take()),
            _ => Err(answer["value"].take()),
        }
    }

    fn of_session(&self, method: &str, path: &str, body: Value) -> Value {
        self.request(method, &format!("/session/{}{path}", self.session), &body)
    }

    /// Opens an address.
    pub fn open(&self, url: &str) {
        self.of_session("POST", "/url", json!({"url": url}));
    }

    /// The address of the page.
    pub fn url(&self) -> String {
        self.of_session("GET", "/url", json!({}))
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The elements that a CSS selector finds.
    fn find(&self, selector: &str) -> Vec<String> {
        let found = self.of_session(
            "POST",
            "/elements",
            json!({"using": "css selector", "value": selector}),
        );
        let found = found.as_array().cloned().unwrap_or_default();
        found
            .iter()
            .filter_map(|one| Some(one[ELEMENT].as_str()?.to_owned()))
            .collect()
    }

    fn one(&self, selector: &str) -> String {
        let mut found = Vec::new();
        wait_for(selector, || {
            found = self.find(selector);
            !found.is_empty()
        });
        found.remove(0)
    }

    /// Clicks the first element that is found, once there is one.
    pub fn click(&self, selector: &str) {
        let element = self.one(selector);
        self.of_session("POST", &format!("/element/{element}/click"), json!({}));
    }

    /// Types into it.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.one(selector);
        self.of_session(
            "POST",
            &format!("/element/{element}/value"),
            json!({"text": text}),
        );
    }

    /// What a person sees of the page.
    pub fn text(&self) -> String {
        let text = self.run("return document.body ? document.body.innerText : ''");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Runs a script in the page.
    pub fn run(&self, script: &str) -> Value {
        self.of_session("POST", "/execute/sync", json!({"script": script, "args": []}))
    }

    /// Goes into a frame; `None` is the page again.
    pub fn enter(&self, selector: Option<&str>) {
        let id = match selector {
            Some(selector) => json!({ELEMENT: self.one(selector)}),
            None => Value::Null,
        };
        self.of_session("POST", "/frame", json!({"id": id}));
    }

    /// Waits until the page has this text.
    pub fn wait_text(&self, text: &str) {
        wait_for(&format!("{text:?} on {}", self.url()), || {
            self.text().contains(text)
        });
    }

    /// What the browser complained about.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.of_session("POST", "/se/log", json!({"type": "browser"}));
        let log = log.as_array().cloned().unwrap_or_default();
        log.iter()
            .map(|line| line["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// A picture of the window, as PNG.
    pub fn picture(&self) -> Vec<u8> {
        let picture = self.of_session("GET", "/screenshot", json!({}));
        STANDARD
            .decode(picture.as_str().expect("base64"))
            .expect("base64")
    }
}

/// One request, whose answer says how long it is: the driver keeps the connection open whatever it is asked.
fn exchange(address: SocketAddr, request: &str) -> std::io::Result<(u16, String)> {
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    stream.get_ref().set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.get_mut().write_all(request.as_bytes())?;
    let (mut status, mut length) = (0, 0);
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        let lower = line.trim().to_ascii_lowercase();
        if let Some(code) = lower.strip_prefix("http/1.1 ") {
            status = code.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
        }
        if let Some(octets) = lower.strip_prefix("content-length:") {
            length = octets.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.try_request("DELETE", &format!("/session/{}", self.session), &json!({}));
        // The signal goes through `timeout` to the driver.
        let pid = i32::try_from(self.driver.id()).unwrap_or(0);
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        let _ = self.driver.wait();
    }
}
