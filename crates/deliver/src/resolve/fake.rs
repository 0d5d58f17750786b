//! A name server for tests, over UDP and TCP on one port of the loopback: it answers from a table, or lies.

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{CNAME, MX, SOA};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

/// How a name is answered instead of by its records.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lie {
    /// With this code.
    Code(ResponseCode),
    /// With octets that are no message.
    Garbage,
    /// With an answer to another question's id.
    WrongId,
    /// With the answer cut in the middle.
    Cut,
    /// Not at all.
    Silence,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    records: HashMap<String, Vec<RData>>,
    lies: HashMap<(String, Option<RecordType>), Lie>,
}

impl Zone {
    pub(crate) fn mx(mut self, name: &str, preference: u16, exchange: &str) -> Self {
        // Label by label, so that a target can be what no host name is.
        let labels = exchange
            .split('.')
            .filter(|label| !label.is_empty())
            .map(str::as_bytes);
        let exchange = Name::from_labels(labels).unwrap();
        self.records
            .entry(name.into())
            .or_default()
            .push(RData::MX(MX::new(preference, exchange)));
        self
    }
    pub(crate) fn ip(mut self, name: &str, address: &str) -> Self {
        self.records
            .entry(name.into())
            .or_default()
            .push(RData::from(address.parse::<std::net::IpAddr>().unwrap()));
        self
    }
    pub(crate) fn cname(mut self, name: &str, target: &str) -> Self {
        let target = CNAME(Name::from_ascii(target).unwrap());
        self.records
            .entry(name.into())
            .or_default()
            .push(RData::CNAME(target));
        self
    }
    /// A name that exists without records.
    pub(crate) fn empty(mut self, name: &str) -> Self {
        self.records.entry(name.into()).or_default();
        self
    }
    pub(crate) fn lie(mut self, name: &str, kind: Option<RecordType>, lie: Lie) -> Self {
        self.lies.insert((name.into(), kind), lie);
        self
    }

    /// Serves the table until the test ends.
    pub(crate) async fn serve(self) -> SocketAddr {
        let zone = Arc::new(self);
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let datagrams = zone.clone();
        tokio::spawn(async move {
            let mut question = [0; 4096];
            while let Ok((length, peer)) = udp.recv_from(&mut question).await {
                if let Some(answer) = datagrams.answer(&question[..length], 1232) {
                    let _ = udp.send_to(&answer, peer).await;
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(zone.clone().converse(stream));
            }
        });
        address
    }

    async fn converse(self: Arc<Self>, mut stream: TcpStream) {
        while let Ok(length) = stream.read_u16().await {
            let mut question = vec![0; usize::from(length)];
            if stream.read_exact(&mut question).await.is_err() {
                return;
            }
            let Some(answer) = self.answer(&question, 65_535) else {
                continue;
            };
            let _ = stream.write_u16(answer.len() as u16).await;
            let _ = stream.write_all(&answer).await;
        }
    }

    fn answer(&self, question: &[u8], limit: usize) -> Option<Vec<u8>> {
        let question = Message::from_vec(question).unwrap();
        let query = question.queries[0].clone();
        let name = query.name().to_ascii().to_ascii_lowercase();
        let kind = query.query_type();
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        let lie = self
            .lies
            .get(&(name.clone(), Some(kind)))
            .or_else(|| self.lies.get(&(name.clone(), None)));
        match lie {
            Some(Lie::Silence) => return None,
            Some(Lie::Garbage) => {
                return Some(b"\xff\xff\x80\x00 this is no message \xc0\x0c\xc0\x0c".to_vec());
            }
            Some(Lie::Code(code)) => answer.metadata.response_code = *code,
            Some(Lie::WrongId) => {
                answer.metadata.id = answer.metadata.id.wrapping_add(1);
                self.fill(&mut answer, query.name(), &name, kind);
            }
            Some(Lie::Cut) => {
                self.fill(&mut answer, query.name(), &name, kind);
                let octets = answer.to_vec().unwrap();
                return Some(octets[..octets.len() - 3].to_vec());
            }
            None => self.fill(&mut answer, query.name(), &name, kind),
        }
        let octets = answer.to_vec().unwrap();
        if octets.len() <= limit {
            return Some(octets);
        }
        let mut truncated = answer.truncate();
        truncated.metadata.truncation = true;
        Some(truncated.to_vec().unwrap())
    }

    fn fill(&self, answer: &mut Message, owner: &Name, name: &str, kind: RecordType) {
        let records = self.records.get(name);
        let matching = |wanted: RecordType| {
            let records = records
                .into_iter()
                .flatten()
                .filter(move |data| data.record_type() == wanted);
            records
                .map(|data| Record::from_rdata(owner.clone(), 60, data.clone()))
                .collect::<Vec<_>>()
        };
        let mut answers = matching(kind);
        if answers.is_empty() {
            answers = matching(RecordType::CNAME);
        }
        if answers.is_empty() {
            let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 60);
            answer.add_authority(Record::from_rdata(Name::root(), 60, RData::SOA(soa)));
        }
        if records.is_none() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        answer.add_answers(answers);
    }
}
