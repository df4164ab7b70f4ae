use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::credentials::File;
use super::server::{Act, Server, answer, matrix};
use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `name` and its key.
fn issue(authority: &Authority, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, authority).unwrap(), key)
}

async fn server(authority: &Authority, name: &str, clients: Option<&Authority>) -> Server {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (certificate, key) = issue(authority, name);
    let builder = match clients {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.as_ref().der().clone()).unwrap();
            ServerConfig::builder()
                .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let body = answer("200 OK", &matrix(&[]));
    Server::start_with(Some(TlsAcceptor::from(Arc::new(config))), move |_, _| vec![Act::Send(body.clone())]).await
}

async fn code(client: HttpClient) -> Result<(), String> {
    let mut reader = reader(&client.url);
    let writer = writer(&client.url);
    reader.client = client;
    read(&tsdb(&reader, &writer), &query(), 1).await.map(|_| ()).map_err(|error| match error {
        ReadError::Unavailable { code, .. } => code,
        other => other.to_string(),
    })
}

#[tokio::test]
async fn only_a_server_that_the_authority_vouches_for_is_trusted() {
    let (own, other) = (authority(), authority());
    let (own_file, other_file) = (File::new(&own.as_ref().pem()), File::new(&other.as_ref().pem()));
    let right = server(&own, "localhost", None).await;
    let wrong_name = server(&own, "elsewhere", None).await;
    for (what, server, verify_tls, expected) in [
        ("its authority", &right, VerifyTls::CaFile(own_file.path()), Ok(())),
        ("another authority", &right, VerifyTls::CaFile(other_file.path()), Err("ssl_error")),
        ("another name", &wrong_name, VerifyTls::CaFile(own_file.path()), Err("ssl_error")),
        ("not verified", &wrong_name, VerifyTls::Off, Ok(())),
    ] {
        let client = HttpClient { verify_tls, ..client(&server.url) };
        assert_eq!(code(client).await, expected.map_err(str::to_owned), "{what}");
    }
}

#[tokio::test]
async fn a_server_that_demands_a_client_certificate_gets_it() {
    let own = authority();
    let authority_file = File::new(&own.as_ref().pem());
    let (certificate, key) = issue(&own, "worker");
    let (cert_file, key_file) = (File::new(&certificate.pem()), File::new(&key.serialize_pem()));
    let server = server(&own, "localhost", Some(&own)).await;
    let without = HttpClient { verify_tls: VerifyTls::CaFile(authority_file.path()), ..client(&server.url) };
    let with =
        HttpClient { tls_cert_file: Some(cert_file.path()), tls_key_file: Some(key_file.path()), ..without.clone() };
    assert_eq!(code(without).await, Err("ssl_error".to_owned()));
    assert_eq!(code(with.clone()).await, Ok(()));

    let other_key = File::new(&KeyPair::generate().unwrap().serialize_pem());
    let mut reader = reader(&server.url);
    reader.client = HttpClient { tls_key_file: Some(other_key.path()), ..with };
    let error = HttpTsdb::new(&reader, &writer(&server.url)).unwrap_err().to_string();
    assert!(error.starts_with("reader.tls_cert_file: does not fit tls_key_file"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_a_tls_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&answer("400 Bad Request", "Client sent an HTTPS request")).await.unwrap();
        // Until the client goes; a close with unread bytes would be a reset.
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    });
    let client = HttpClient { verify_tls: VerifyTls::Off, ..client(&format!("https://localhost:{port}")) };
    assert_eq!(code(client).await, Err("ssl_error".to_owned()));
}
