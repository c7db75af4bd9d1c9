//! One who stands between slotd and a server, on loopback: passes everything on, breaks off, or ends TLS himself.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use slotd::config::Tls;
use slotd::net::tls::TlsClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::server::Failure;

/// What he does with the next connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Passes every byte on.
    Honest,
    /// Says yes to TLS and closes: a server that goes down at this moment.
    HangUp,
    /// Says yes to TLS and resets the connection.
    Reset,
    /// Shows a certificate of his own and begins TLS with the server anew: he reads all that is said.
    Impersonate,
    /// The same, and takes SCRAM-SHA-256-PLUS out of what the server offers.
    Strip,
}

/// He and his port; he is gone once this is dropped.
#[derive(Debug)]
pub(crate) struct Middle {
    port: u16,
    manner: Arc<Mutex<Manner>>,
    _serving: AbortOnDropHandle<()>,
}

impl Middle {
    /// One before the server at `upstream` of 127.0.0.1, with a certificate and its key.
    pub(crate) async fn before(upstream: u16, (chain, key): (String, String), manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let manner = Arc::new(Mutex::new(manner));
        let his = Arc::clone(&manner);
        let serving = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, manner) = (acceptor.clone(), *his.lock().unwrap());
                // Whatever breaks here is told by both ends.
                tokio::spawn(async move { drop(serve(client, upstream, acceptor, manner).await) });
            }
        }));
        Self { port, manner, _serving: serving }
    }

    /// Where he listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What he does from the next connection on.
    pub(crate) fn turns(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

async fn serve(mut client: TcpStream, upstream: u16, acceptor: TlsAcceptor, manner: Manner) -> Result<(), Failure> {
    if manner == Manner::Honest {
        let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
        copy_bidirectional(&mut client, &mut server).await?;
        return Ok(());
    }
    let mut request = [0; 8];
    client.read_exact(&mut request).await?;
    client.write_all(b"S").await?;
    if matches!(manner, Manner::HangUp | Manner::Reset) {
        // Its first words of TLS: what is not read would make a reset of the other kind, too.
        client.read_buf(&mut Vec::with_capacity(4096)).await?;
        if manner == Manner::Reset {
            set_socket_linger(&client, Some(Duration::ZERO))?;
        }
        return Ok(());
    }
    let mut client = acceptor.accept(client).await?;
    let server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    let mut server = TlsClient::new(&Tls::REQUIRE)?.connect(server, "127.0.0.1").await?;
    if manner == Manner::Strip {
        let length = client.read_u32().await?;
        let mut startup = vec![0; length as usize - 4];
        client.read_exact(&mut startup).await?;
        server.write_u32(length).await?;
        server.write_all(&startup).await?;
        server.flush().await?;
        // 'R', its length, 10, the mechanisms.
        let mut offer = vec![0; 5];
        server.read_exact(&mut offer).await?;
        offer.resize(1 + u32::from_be_bytes(offer[1..5].try_into()?) as usize, 0);
        server.read_exact(&mut offer[5..]).await?;
        assert!(offer[9..].starts_with(b"SCRAM-SHA-256-PLUS\0"), "{offer:?}");
        client.write_all(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0").await?;
        client.flush().await?;
    }
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
