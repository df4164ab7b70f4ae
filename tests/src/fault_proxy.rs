//! An HTTP proxy on loopback between a worker and its TSDB, whose faults the test switches while it runs.
//!
//! Every request gets a connection of its own on both sides (answers carry `Connection: close`), so that a fault set
//! now acts on the next request and never on half of one.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use crate::series::{Series, parse_export};

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fault {
    /// It is passed on, and so is the answer.
    #[default]
    None,
    /// It is passed on after this time.
    Delay(Duration),
    /// Its connection is reset; the server never sees it.
    Reset,
    /// The server gets it and answers, but the connection is reset instead.
    LoseAnswer,
    /// The server's answer ends after so many bytes of its body.
    Truncate(usize),
    /// The proxy answers with this status and body; the server never sees it.
    Answer(u16, String),
    /// The proxy answers a body of more than so many bytes with 413, and passes on every other request.
    RefuseLarger(usize),
    /// It is never answered; the connection stays open until the fault changes.
    HalfOpen,
}

/// A running proxy. Dropping it closes every connection.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    /// Notified of every request and every change of faults.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    everywhere: Fault,
    by_path: Vec<(String, Fault)>,
    by_bearer: Vec<(String, Fault)>,
    requests: BTreeMap<String, u64>,
    faults_set: u64,
    imported: Vec<Vec<u8>>,
}

impl State {
    fn fault(&self, request: &Request) -> &Fault {
        let of_client = self.by_bearer.iter().find(|(token, _)| request.bearer.as_ref() == Some(token));
        of_client.map_or_else(|| self.fault_of_path(&request.path), |(_, fault)| fault)
    }

    fn fault_of_path(&self, path: &str) -> &Fault {
        let matching = self.by_path.iter().filter(|(prefix, _)| path.starts_with(prefix));
        matching.max_by_key(|(prefix, _)| prefix.len()).map_or(&self.everywhere, |(_, fault)| fault)
    }

    fn requests(&self, path: &str) -> u64 {
        self.requests.iter().filter(|(asked, _)| asked.starts_with(path)).map(|(_, count)| count).sum()
    }
}

impl FaultProxy {
    /// Listens on a free loopback port and passes everything on to `upstream`.
    ///
    /// # Errors
    /// When the system has no free port.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { upstream, state: Mutex::default(), changed: watch::Sender::default() });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the fault of every path and forgets those of single paths and clients.
    pub fn set(&self, fault: Fault) {
        let mut state = self.shared.lock();
        state.everywhere = fault;
        state.by_path.clear();
        state.by_bearer.clear();
        state.faults_set += 1;
        drop(state);
        self.shared.changed.send_replace(());
    }

    /// Sets the fault of the paths that begin with `prefix`; of several prefixes the longest counts.
    pub fn set_path(&self, prefix: &str, fault: Fault) {
        let mut state = self.shared.lock();
        state.by_path.retain(|(other, _)| other != prefix);
        state.by_path.push((prefix.to_owned(), fault));
        state.faults_set += 1;
        drop(state);
        self.shared.changed.send_replace(());
    }

    /// Sets the fault of the client that sends this bearer token, whatever it asks for.
    pub fn set_bearer(&self, token: &str, fault: Fault) {
        let mut state = self.shared.lock();
        state.by_bearer.retain(|(other, _)| other != token);
        state.by_bearer.push((token.to_owned(), fault));
        state.faults_set += 1;
        drop(state);
        self.shared.changed.send_replace(());
    }

    /// Requests so far whose path begins with `prefix`, failed ones included.
    #[must_use]
    pub fn requests(&self, prefix: &str) -> u64 {
        self.shared.lock().requests(prefix)
    }

    /// What the server took at `/api/v1/import`, with the values as they were sent, bit for bit: a TSDB may round what
    /// it stores. A line may be there several times.
    #[must_use]
    pub fn imported(&self) -> Vec<Series> {
        let bodies = self.shared.lock().imported.clone();
        let parsed = bodies.iter().filter_map(|body| parse_export(body).ok());
        parsed.flatten().collect()
    }

    /// Waits until `count` requests more than now have come whose path begins with `prefix`. False when they do not
    /// come within `within`.
    pub async fn further_requests(&self, prefix: &str, count: u64, within: Duration) -> bool {
        let wanted = self.requests(prefix) + count;
        self.shared.wait_until(|state| state.requests(prefix) >= wanted, within).await
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the body of an import that the server has accepted.
    fn note_import(&self, request: &Request, answer: &[u8]) {
        let status = answer.split(|byte| *byte == b' ').nth(1);
        if request.is_import() && status.is_some_and(|status| status.starts_with(b"2")) {
            self.lock().imported.push(request.body().to_vec());
        }
    }

    async fn wait_until(&self, reached: impl Fn(&State) -> bool, within: Duration) -> bool {
        let mut changed = self.changed.subscribe();
        let waiting = changed.wait_for(|()| reached(&self.lock()));
        tokio::time::timeout(within, waiting).await.is_ok_and(|result| result.is_ok())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Aborted together with this task.
    let mut connections = JoinSet::new();
    loop {
        if let Ok((client, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            // A client that goes away in the middle is nothing that the proxy could tell anybody.
            connections.spawn(async move { drop(serve(client, &shared).await) });
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let Some(request) = Request::read(&mut client).await? else {
        return Ok(());
    };
    let (fault, faults_set) = {
        let mut state = shared.lock();
        *state.requests.entry(request.path.clone()).or_default() += 1;
        (state.fault(&request).clone(), state.faults_set)
    };
    shared.changed.send_replace(());

    match fault {
        Fault::None => pass(&mut client, &request, shared, None).await,
        Fault::Delay(time) => {
            tokio::time::sleep(time).await;
            pass(&mut client, &request, shared, None).await
        }
        Fault::Truncate(bytes) => pass(&mut client, &request, shared, Some(bytes)).await,
        Fault::Reset => client.set_zero_linger(),
        Fault::LoseAnswer => {
            let mut server = request.send(shared.upstream).await?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).await?;
            shared.note_import(&request, &answer);
            client.set_zero_linger()
        }
        Fault::Answer(status, body) => refuse(&mut client, status, &body).await,
        Fault::RefuseLarger(limit) if request.body().len() > limit => {
            refuse(&mut client, 413, "request entity too large").await
        }
        Fault::RefuseLarger(_) => pass(&mut client, &request, shared, None).await,
        Fault::HalfOpen => {
            let hour = Duration::from_secs(3600);
            shared.wait_until(|state| state.faults_set != faults_set, hour).await;
            Ok(())
        }
    }
}

/// Answers in the server's place.
async fn refuse(client: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} Fault\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await
}

/// Passes a request on and its answer back, at most `body_limit` bytes of its body. A server that is not there looks
/// to the client like a reset.
async fn pass(client: &mut TcpStream, request: &Request, shared: &Shared, body_limit: Option<usize>) -> io::Result<()> {
    let mut server = match request.send(shared.upstream).await {
        Ok(server) => server,
        Err(_) => return client.set_zero_linger(),
    };
    if body_limit.is_none() && !request.is_import() {
        tokio::io::copy(&mut server, client).await?;
        return client.shutdown().await;
    }
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    shared.note_import(request, &answer);
    let limit = body_limit.unwrap_or(answer.len());
    let body = find(&answer, b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
    client.write_all(&answer[..answer.len().min(body + limit)]).await?;
    client.shutdown().await
}

/// A whole request, as it is passed on.
struct Request {
    path: String,
    /// The token of `Authorization: Bearer`.
    bearer: Option<String>,
    bytes: Vec<u8>,
    body_start: usize,
}

impl Request {
    /// Reads one; `None` when the client closed before it sent any.
    async fn read(client: &mut TcpStream) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(end) = find(&bytes, b"\r\n\r\n") {
                break end;
            }
            if client.read_buf(&mut bytes).await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let header = |wanted: &str| {
            head.lines().skip(1).find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim())
            })
        };
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
        let chunked = header("transfer-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked"));
        let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let complete = |bytes: &[u8]| {
            let body = &bytes[head_end + 4..];
            if chunked { body.ends_with(b"0\r\n\r\n") } else { body.len() >= length }
        };
        while !complete(&bytes) {
            if client.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let kept = head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
        let mut passed: String = kept.map(|line| format!("{line}\r\n")).collect();
        passed.push_str("Connection: close\r\n\r\n");
        let mut request = passed.into_bytes();
        let body_start = request.len();
        request.extend_from_slice(&bytes[head_end + 4..]);
        Ok(Some(Self { path, bearer, bytes: request, body_start }))
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(self.body_start..).unwrap_or_default()
    }

    fn is_import(&self) -> bool {
        self.path.ends_with("/api/v1/import")
    }

    async fn send(&self, upstream: SocketAddr) -> io::Result<TcpStream> {
        let mut server = TcpStream::connect(upstream).await?;
        server.write_all(&self.bytes).await?;
        Ok(server)
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
