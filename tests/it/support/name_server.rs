//! A name server that answers what a test tells it to: at once, late or never. What is long comes over TCP alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::task::AbortOnDropHandle;

/// What is said to a question.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// These addresses, to be kept for so many seconds.
    Addresses(Vec<IpAddr>, u32),
    Code(ResponseCode),
    Nothing,
}

type Question = (String, RecordType);

#[derive(Debug, Default)]
struct Zone {
    answers: BTreeMap<Question, (Duration, Said)>,
    asked: Vec<Question>,
}

/// It stops serving once this is dropped.
#[derive(Debug)]
pub(crate) struct NameServer {
    zone: Arc<Mutex<Zone>>,
    _serving: [AbortOnDropHandle<()>; 2],
}

impl NameServer {
    /// One on port 53 of `address`. A name of which it knows no record does not exist.
    pub(crate) async fn at(address: &str) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let socket = UdpSocket::bind(SocketAddr::new(address, 53)).await.unwrap();
        let listener = TcpListener::bind(SocketAddr::new(address, 53)).await.unwrap();
        let (socket, zone) = (Arc::new(socket), Arc::new(Mutex::new(Zone::default())));
        let shared = Arc::clone(&zone);
        let over_tcp = AbortOnDropHandle::new(tokio::spawn({
            let zone = Arc::clone(&zone);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(serve(client, Arc::clone(&zone)));
                }
            }
        }));
        let serving = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok((len, from)) = socket.recv_from(&mut bytes).await {
                let Some((late, answer)) = shared.lock().unwrap().answer(&bytes[..len], Over::Udp) else { continue };
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    // Who asked may be gone.
                    let _ = socket.send_to(&answer, from).await;
                });
            }
        }));
        Self { zone, _serving: [serving, over_tcp] }
    }

    /// From now on `said` is the answer.
    pub(crate) fn says(&self, name: &str, kind: RecordType, said: Said) {
        self.says_late(name, kind, Duration::ZERO, said);
    }

    /// The same, so long after it was asked.
    pub(crate) fn says_late(&self, name: &str, kind: RecordType, late: Duration, said: Said) {
        self.zone.lock().unwrap().answers.insert((name.to_owned(), kind), (late, said));
    }

    /// `name` has these addresses, each of its family, for a minute.
    pub(crate) fn has(&self, name: &str, addresses: &[&str]) {
        for kind in [RecordType::A, RecordType::AAAA] {
            let of_kind = |ip: &IpAddr| ip.is_ipv6() == (kind == RecordType::AAAA);
            let ips: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).filter(of_kind).collect();
            self.says(name, kind, Said::Addresses(ips, 60));
        }
    }

    /// How often it was asked.
    pub(crate) fn asked(&self, name: &str, kind: RecordType) -> usize {
        let zone = self.zone.lock().unwrap();
        zone.asked.iter().filter(|(asked, of)| asked == name && *of == kind).count()
    }

    /// The names that it was asked about, each once, in order.
    pub(crate) fn names_asked(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (name, _) in &self.zone.lock().unwrap().asked {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

/// Answers the questions that come over a connection.
async fn serve(mut client: TcpStream, zone: Arc<Mutex<Zone>>) -> std::io::Result<()> {
    loop {
        let mut question = vec![0; client.read_u16().await?.into()];
        client.read_exact(&mut question).await?;
        let Some((late, answer)) = zone.lock().unwrap().answer(&question, Over::Tcp) else { continue };
        tokio::time::sleep(late).await;
        client.write_u16(answer.len().try_into().unwrap()).await?;
        client.write_all(&answer).await?;
    }
}

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Tcp,
    Udp,
}

/// More addresses than these are cut off an answer over UDP.
const SHORT: usize = 8;

impl Zone {
    /// The answer to a question, and how late it comes.
    fn answer(&mut self, bytes: &[u8], over: Over) -> Option<(Duration, Vec<u8>)> {
        let question = Message::from_vec(bytes).unwrap();
        let query = question.queries.first().unwrap().clone();
        let name = query.name().to_ascii().trim_end_matches('.').to_lowercase();
        self.asked.push((name.clone(), query.query_type()));
        let known = self.answers.keys().any(|(has, _)| *has == name);
        let nothing = if known { ResponseCode::NoError } else { ResponseCode::NXDomain };
        let answer = self.answers.get(&(name, query.query_type())).cloned();
        let (late, said) = answer.unwrap_or((Duration::ZERO, Said::Code(nothing)));
        let mut message = Message::response(question.id, OpCode::Query);
        message.metadata.recursion_available = true;
        message.add_query(query.clone());
        match said {
            Said::Nothing => return None,
            Said::Code(code) => message.metadata.response_code = code,
            Said::Addresses(ips, _) if over == Over::Udp && ips.len() > SHORT => message.metadata.truncation = true,
            Said::Addresses(ips, ttl) => {
                let record = |ip| Record::from_rdata(Name::clone(query.name()), ttl, RData::from(ip));
                message.add_answers(ips.into_iter().map(record));
            }
        }
        Some((late, message.to_vec().unwrap()))
    }
}
