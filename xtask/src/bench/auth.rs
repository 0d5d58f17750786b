//! AUTH: how long refusals take for names that somebody has, and for names that nobody has. It only shows the two
//! distributions; they should lie over one another.

use super::Bench;
use super::ours::Ours;
use std::process::Command;

/// Attempts of each kind. Each is with a name of its own, since repeated failures are answered later.
const ATTEMPTS: usize = 48;
/// Attempts at once.
const AT_ONCE: usize = 4;

/// Logs in by PLAIN and SCRAM-SHA-256's first message, and prints milliseconds.
const CLIENT: &str = r#"
import base64, concurrent.futures, smtplib, ssl, sys, time
port, attempts, at_once = map(int, sys.argv[1:4])
context = ssl._create_unverified_context()

def attempt(name):
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.starttls(context=context)
        client.ehlo()
        first = base64.b64encode(b"n,,n=%s,r=abcdefghijkl" % name.encode()).decode()
        begun = time.perf_counter()
        assert client.docmd("AUTH SCRAM-SHA-256", first)[0] == 334
        scram = time.perf_counter() - begun
        assert client.docmd("*")[0] == 501
        secret = base64.b64encode(b"\0%s\0guess" % name.encode()).decode()
        begun = time.perf_counter()
        assert client.docmd("AUTH PLAIN", secret)[0] == 535
        return scram, time.perf_counter() - begun

kinds = ["known", "unknown"]
names = [f"{kind}{n}" for n in range(attempts) for kind in kinds]
with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
    times = list(pool.map(attempt, names))
for what, mechanism in enumerate(["SCRAM-SHA-256 challenge", "PLAIN refusal"]):
    for kind in kinds:
        own = sorted(1000 * t[what] for t, name in zip(times, names) if name.startswith(kind))
        at = lambda part: own[min(len(own) - 1, int(part * len(own)))]
        print(f"{mechanism}, {kind} names: " + ", ".join(
            f"{word} {at(part):.2f}" for word, part in
            [("least", 0), ("10 %", 0.1), ("median", 0.5), ("90 %", 0.9), ("most", 1)]) + " ms")
"#;

/// Prints the distributions.
pub(crate) fn auth(bench: &mut Bench) -> Result<(), String> {
    let mut config = String::new();
    for n in 0..ATTEMPTS {
        config += &format!("[[accounts]]\nname = \"known{n}\"\npassword = \"secret {n}\"\n");
    }
    let (server, _) = Ours::configured(&bench.server, &bench.folder.join("auth"), &config, &[])?;
    let output = Command::new("/usr/bin/python3")
        .args(["-c", CLIENT])
        .args([usize::from(server.smtp.port()), ATTEMPTS, AT_ONCE].map(|number| number.to_string()))
        .output()
        .map_err(|error| format!("python3: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        bench.say(line.to_owned());
    }
    server.stop()
}
