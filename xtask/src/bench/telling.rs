//! What it costs to tell of mail: its history, spans, webhooks. Relaying with it and without it, in turn.

use super::ours::Ours;
use super::peers::Sink;
use super::speed::until_empty;
use super::{Bench, Bound, median};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Messages of a turn.
const MESSAGES: usize = 20_000;

/// Figures of one way to run the server.
struct Way<'w> {
    name: &'w str,
    /// What its configuration has beside the next hop.
    config: String,
    rates: Vec<f64>,
    cpu: Vec<f64>,
}

impl Way<'_> {
    fn new(name: &str, config: impl Into<String>) -> Way<'_> {
        Way {
            name,
            config: config.into(),
            rates: Vec::new(),
            cpu: Vec::new(),
        }
    }

    fn turn(&mut self, bench: &Bench, round: usize) -> Result<Ours, String> {
        let hop = Sink::start()?;
        let folder = bench.folder.join(format!("ours-{}-{round}", self.name));
        let text = format!(
            "[relay]\nnetworks = [\"127.0.0.0/8\"]\nsmarthost = \"smtp://{}\"\n{}",
            hop.address, self.config
        );
        let (server, _) = Ours::configured(&bench.server, &folder, &text, &[])?;
        self.rates.push(until_empty(MESSAGES, server.smtp, || {
            server.metric("smtp_queue_depth") == 0.0
        })?);
        self.cpu.push(server.cpu() / MESSAGES as f64 * 1e6);
        Ok(server)
    }
}

/// Lets the ways take turns, and says how each is beside the first.
fn compare(
    bench: &mut Bench,
    mut ways: Vec<Way<'_>>,
    bound: f64,
    check: impl Fn(&str, &Ours) -> Result<(), String>,
) -> Result<(), String> {
    for round in 0..bench.rounds {
        for way in &mut ways {
            let server = way.turn(bench, round)?;
            check(way.name, &server)?;
        }
    }
    let mut first = None;
    for way in ways {
        let (rate, cpu) = (median(way.rates), median(way.cpu));
        let name = way.name;
        bench.say(format!(
            "accept and relay, {name}: {rate:.0}/s, {cpu:.0} µs of processor time a message"
        ));
        let beside = *first.get_or_insert(rate);
        if beside != rate {
            let what = format!("accept and relay, {name}, beside without");
            bench.judge(&what, rate / beside, "x", Bound::AtLeast(bound));
        }
    }
    Ok(())
}

/// What a message's history costs.
pub(crate) fn history(bench: &mut Bench) -> Result<(), String> {
    let ways = vec![
        Way::new("without history", "[history]\nenabled = false\n"),
        Way::new("with history", ""),
    ];
    compare(bench, ways, 0.85, |_, server| {
        match server.metric("smtp_history_steps_dropped_total") {
            0.0 => Ok(()),
            dropped => Err(format!("{dropped} steps of histories were dropped")),
        }
    })
}

/// What spans cost: of every message, of one in ten.
pub(crate) fn traces(bench: &mut Bench) -> Result<(), String> {
    let collector = listen(true)?;
    let to =
        |sampling: &str| format!("[tracing]\nendpoint = \"http://{collector}\"\nsampling = {sampling}\n");
    let ways = vec![
        Way::new("without traces", ""),
        Way::new("every message traced", to("1.0")),
        Way::new("a tenth traced", to("0.1")),
    ];
    compare(bench, ways, 0.85, |_, _| Ok(()))
}

/// What webhooks cost: one that takes every call, and one that hangs.
pub(crate) fn webhooks(bench: &mut Bench) -> Result<(), String> {
    let (prompt, hung) = (listen(true)?, listen(false)?);
    let to = |address: SocketAddr| {
        format!(
            "[[webhooks]]\nname = \"all\"\nurl = \"http://{address}/\"\nsecret = \"whsec_{}\"\n",
            "QUFB".repeat(8)
        )
    };
    let ways = vec![
        Way::new("without webhooks", ""),
        Way::new("told at once", to(prompt)),
        Way::new("told to one that hangs", to(hung)),
    ];
    compare(bench, ways, 0.75, |name, server| {
        let taken = server.metric("smtp_webhook_calls_total{result=\"taken\"}");
        let waiting = server.metric("smtp_webhook_calls_waiting");
        match name {
            "without webhooks" => Ok(()),
            _ if taken + waiting >= MESSAGES as f64 => Ok(()),
            _ => Err(format!("{taken} calls were made and {waiting} wait")),
        }
    })
}

/// An HTTP server that says 200 to everything, or nothing. It ends with the process.
fn listen(answers: bool) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, answers));
        }
    });
    Ok(address)
}

fn serve(stream: TcpStream, answers: bool) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).ok()?;
        if answers {
            writer
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .ok()?;
        }
    }
}
