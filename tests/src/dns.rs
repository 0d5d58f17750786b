//! A DNS server for tests: answers from a table, and lies when told.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// One answer.
#[derive(Clone, Debug)]
pub enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Mx(u16, String),
    Cname(String),
    Txt(String),
}

/// How a name is answered, when not from the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// SERVFAIL.
    ServFail,
    /// Never answered.
    Silent,
    /// Random octets instead of a message.
    Garbage,
    /// An answer whose record says it is longer than it is.
    TruncatedData,
    /// Another transaction's id.
    WrongId,
    /// An answer that says nothing, and that no server would give over TCP either: TC set.
    Truncated,
}

#[derive(Default)]
struct Table {
    records: HashMap<(String, u16), Vec<Record>>,
    lies: HashMap<String, Lie>,
    queries: Vec<(String, u16)>,
}

/// A running server. Names that the table does not hold do not exist.
#[derive(Clone)]
pub struct Dns {
    pub address: SocketAddr,
    table: Arc<Mutex<Table>>,
}

const A: u16 = 1;
const CNAME: u16 = 5;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;

impl Dns {
    /// On loopback.
    pub fn start() -> Dns {
        Dns::on("127.0.0.1:0")
    }
    /// On a given address.
    pub fn on(address: &str) -> Dns {
        let socket = UdpSocket::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = socket.local_addr().expect("address");
        let table: Arc<Mutex<Table>> = Arc::default();
        let dns = Dns {
            address,
            table: table.clone(),
        };
        std::thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut query) {
                if let Some(answer) = answer(&query[..length], &mut table.lock().expect("table")) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        dns
    }
    pub fn add(&self, name: &str, record: Record) {
        let kind = match record {
            Record::A(_) => A,
            Record::Aaaa(_) => AAAA,
            Record::Mx(..) => MX,
            Record::Cname(_) => CNAME,
            Record::Txt(_) => TXT,
        };
        let mut table = self.table.lock().expect("table");
        table
            .records
            .entry((name.to_ascii_lowercase(), kind))
            .or_default()
            .push(record);
    }
    pub fn a(&self, name: &str, address: &str) {
        self.add(name, Record::A(address.parse().expect("IPv4 address")));
    }
    pub fn mx(&self, name: &str, preference: u16, host: &str) {
        self.add(name, Record::Mx(preference, host.into()));
    }
    /// Publishes a TXT record, in strings of at most 255 octets.
    pub fn txt(&self, name: &str, value: &str) {
        self.add(name, Record::Txt(value.into()));
    }
    /// Takes all records of a name away.
    pub fn remove(&self, name: &str) {
        let name = name.to_ascii_lowercase();
        self.table
            .lock()
            .expect("table")
            .records
            .retain(|(known, _), _| *known != name);
    }
    pub fn lie(&self, name: &str, lie: Lie) {
        self.table
            .lock()
            .expect("table")
            .lies
            .insert(name.to_ascii_lowercase(), lie);
    }
    pub fn honest(&self, name: &str) {
        self.table
            .lock()
            .expect("table")
            .lies
            .remove(&name.to_ascii_lowercase());
    }
    /// How often a name was asked for.
    pub fn queries(&self, name: &str) -> usize {
        self.table
            .lock()
            .expect("table")
            .queries
            .iter()
            .filter(|(asked, _)| asked == name)
            .count()
    }
    /// `[dns]` for the configuration.
    pub fn config(&self) -> String {
        format!("[dns]\nservers = [\"{}\"]\n", self.address)
    }
}

fn answer(query: &[u8], table: &mut Table) -> Option<Vec<u8>> {
    let (name, end) = name_at(query, 12)?;
    let kind = u16::from_be_bytes(query.get(end..end + 2)?.try_into().ok()?);
    let question = query.get(12..end + 4)?;
    table.queries.push((name.clone(), kind));
    let mut id = [query[0], query[1]];
    let mut flags: u16 = 0x8580;
    match table.lies.get(&name) {
        Some(Lie::Silent) => return None,
        Some(Lie::Garbage) => return Some(b"\x00\xff\x13garbage, not a message at all".to_vec()),
        Some(Lie::ServFail) => return Some(message(id, 0x8182, question, &[])),
        Some(Lie::Truncated) => return Some(message(id, 0x8780, question, &[])),
        Some(Lie::WrongId) => id = [!id[0], id[1]],
        Some(Lie::TruncatedData) => {
            let mut lie = message(id, flags, question, &[record(&name, kind, &[0, 10])]);
            lie.truncate(lie.len() - 1);
            return Some(lie);
        }
        None => {}
    }
    let answers = resolve(&name, kind, table);
    let exists = table.records.keys().any(|(known, _)| *known == name);
    if !exists {
        flags |= 3;
    }
    Some(message(id, flags, question, &answers))
}

/// The records for a name, CNAMEs followed (at most 8: a loop ends there).
fn resolve(name: &str, kind: u16, table: &Table) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    let mut name = name.to_string();
    for _ in 0..8 {
        if let Some(records) = table.records.get(&(name.clone(), kind)) {
            answers.extend(records.iter().map(|r| encode(&name, r)));
            return answers;
        }
        let Some([Record::Cname(target)]) = table.records.get(&(name.clone(), CNAME)).map(Vec::as_slice)
        else {
            return answers;
        };
        answers.push(encode(&name, &Record::Cname(target.clone())));
        name = target.to_ascii_lowercase();
    }
    answers
}

fn encode(name: &str, what: &Record) -> Vec<u8> {
    match what {
        Record::A(address) => record(name, A, &address.octets()),
        Record::Aaaa(address) => record(name, AAAA, &address.octets()),
        Record::Cname(target) => record(name, CNAME, &wire_name(target)),
        Record::Txt(value) => {
            let strings = value.as_bytes().chunks(255);
            let data: Vec<u8> = strings
                .flat_map(|string| [&[u8::try_from(string.len()).expect("short")], string].concat())
                .collect();
            record(name, TXT, &data)
        }
        Record::Mx(preference, host) => record(
            name,
            MX,
            &[&preference.to_be_bytes()[..], &wire_name(host)].concat(),
        ),
    }
}

fn record(name: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let mut out = wire_name(name);
    out.extend(kind.to_be_bytes());
    out.extend([0, 1, 0, 0, 0, 1]);
    out.extend(u16::try_from(data.len()).expect("short data").to_be_bytes());
    out.extend(data);
    out
}

fn message(id: [u8; 2], flags: u16, question: &[u8], answers: &[Vec<u8>]) -> Vec<u8> {
    let mut out = id.to_vec();
    out.extend(flags.to_be_bytes());
    out.extend([0, 1]);
    out.extend(u16::try_from(answers.len()).expect("few answers").to_be_bytes());
    out.extend([0, 0, 0, 0]);
    out.extend(question);
    out.extend(answers.concat());
    out
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name
        .trim_end_matches('.')
        .split('.')
        .filter(|label| !label.is_empty())
    {
        out.push(u8::try_from(label.len()).expect("short label"));
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

/// The name at an offset of a query (no compression there), lower case, and where it ends.
fn name_at(query: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
}
