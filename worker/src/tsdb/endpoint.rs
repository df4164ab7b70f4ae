//! One HTTP server: how to reach it, and as whom.

use std::time::Duration;

use config::worker::{HttpClient, VerifyTls};
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity, RequestBuilder, Url};

use crate::secret_file;

/// Longest time to establish a connection. The limit of the whole request applies as well.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are closed before VictoriaMetrics closes them (after a minute).
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a connection cannot be configured. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The URL is none, or not of HTTP.
    #[error("{section}.datasource_url: {message}")]
    Url {
        /// `reader` or `writer`.
        section: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The file of certificate authorities cannot be used.
    #[error("{section}.verify_tls: {message}")]
    Authorities {
        /// `reader` or `writer`.
        section: &'static str,
        /// What is wrong, with the path.
        message: String,
    },
    /// The client certificate cannot be used.
    #[error("{section}.{key}: {message}")]
    ClientCertificate {
        /// `reader` or `writer`.
        section: &'static str,
        /// `tls_cert_file` or `tls_key_file`.
        key: &'static str,
        /// What is wrong, with the path.
        message: String,
    },
    /// Basic auth and a bearer token at once, or a token that does not fit into a header.
    #[error("{section}.{key}: {message}")]
    Authorization {
        /// `reader` or `writer`.
        section: &'static str,
        /// `user` or `bearer_token`.
        key: &'static str,
        /// What is wrong.
        message: &'static str,
    },
    /// The process has installed no cryptography for TLS.
    #[error("{section}: no default provider of cryptography for TLS is installed")]
    NoCryptography {
        /// `reader` or `writer`.
        section: &'static str,
    },
    /// The client cannot be made for another reason.
    #[error("{section}: {message}")]
    Other {
        /// `reader` or `writer`.
        section: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// Who asks.
enum Authorization {
    Anonymous,
    Basic { user: String, password: Option<String> },
    BasicWithFile { user: String, password_file: String },
    Bearer { token: String },
    BearerFromFile { token_file: String },
}

/// A server with everything that its requests have in common. Requests neither follow redirects nor use proxies, and
/// do not ask for compressed answers.
pub struct Endpoint {
    client: Client,
    base: Url,
    authorization: Authorization,
}

impl std::fmt::Debug for Endpoint {
    /// Without secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Endpoint")
            .field("host", &self.base.host_str())
            .field("path", &self.base.path())
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Reads the TLS files; `timeout` limits a whole request.
    pub fn new(section: &'static str, config: &HttpClient, timeout: Duration) -> Result<Self, ClientError> {
        let base = base_url(&config.url).map_err(|message| ClientError::Url { section, message })?;
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(ClientError::NoCryptography { section });
        }
        // A client with nothing else shows whether the authorities can be used.
        verification(section, Client::builder().no_proxy(), config, &base)?
            .build()
            .map_err(|error| ClientError::Authorities { section, message: chain(error) })?;
        let builder = Client::builder()
            .timeout(timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .gzip(false)
            .user_agent(concat!("vmanomaly/", env!("CARGO_PKG_VERSION")));
        let builder = verification(section, builder, config, &base)?;
        let client = match client_certificate(section, config)? {
            Some(identity) => builder.identity(identity).build().map_err(|error| ClientError::ClientCertificate {
                section,
                key: "tls_cert_file",
                message: format!("does not fit tls_key_file: {}", chain(error)),
            })?,
            None => builder.build().map_err(|error| ClientError::Other { section, message: chain(error) })?,
        };
        Ok(Self { client, base, authorization: authorization(section, config)? })
    }

    /// The URL of an API below the base URL. With a tenant it lies below `/<service>/<tenant>/prometheus`, unless the
    /// base URL says a tenant itself.
    #[must_use]
    pub fn url(&self, service: &str, tenant: Option<&str>, api: &str) -> Url {
        let base = self.base.path().trim_end_matches('/');
        let separator = if api.starts_with('/') { "" } else { "/" };
        let path = match tenant {
            Some(tenant) if !format!("{base}/").contains(&format!("/{service}/")) => {
                format!("{base}/{service}/{tenant}/prometheus{separator}{api}")
            }
            _ => format!("{base}{separator}{api}"),
        };
        let mut url = self.base.clone();
        url.set_path(&path);
        url
    }

    /// A GET request with authorization. Files with secrets are read now; the error names the path.
    pub fn get(&self, url: Url) -> Result<RequestBuilder, String> {
        self.authorize(self.client.get(url))
    }

    /// A POST request with authorization. Files with secrets are read now; the error names the path.
    pub fn post(&self, url: Url) -> Result<RequestBuilder, String> {
        self.authorize(self.client.post(url))
    }

    fn authorize(&self, request: RequestBuilder) -> Result<RequestBuilder, String> {
        Ok(match &self.authorization {
            Authorization::Anonymous => request,
            Authorization::Basic { user, password } => request.basic_auth(user, password.as_deref()),
            Authorization::BasicWithFile { user, password_file } => {
                request.basic_auth(user, Some(secret_file::read_text(password_file)?))
            }
            Authorization::Bearer { token } => request.bearer_auth(token),
            Authorization::BearerFromFile { token_file } => {
                let token = secret_file::read_text(token_file)?;
                if !is_header_text(&token) {
                    return Err(format!("{token_file}: has characters that do not fit into a header"));
                }
                request.bearer_auth(token)
            }
        })
    }
}

fn base_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the scheme must be http or https, not {:?}", url.scheme()));
    }
    Ok(url)
}

fn authorization(section: &'static str, config: &HttpClient) -> Result<Authorization, ClientError> {
    let has_basic = config.user.is_some() || config.password.is_some() || config.password_file.is_some();
    let has_bearer = config.bearer_token.is_some() || config.bearer_token_file.is_some();
    if has_basic && has_bearer {
        let message = "set either user and password or a bearer token";
        return Err(ClientError::Authorization { section, key: "user", message });
    }
    if let Some(token_file) = config.bearer_token_file.clone() {
        return Ok(Authorization::BearerFromFile { token_file });
    }
    if let Some(token) = config.bearer_token.clone() {
        if !is_header_text(&token) {
            let message = "has characters that do not fit into a header";
            return Err(ClientError::Authorization { section, key: "bearer_token", message });
        }
        return Ok(Authorization::Bearer { token });
    }
    if !has_basic {
        return Ok(Authorization::Anonymous);
    }
    let user = config.user.clone().unwrap_or_default();
    Ok(match config.password_file.clone() {
        Some(password_file) => Authorization::BasicWithFile { user, password_file },
        None => Authorization::Basic { user, password: config.password.clone() },
    })
}

fn is_header_text(text: &str) -> bool {
    HeaderValue::from_str(text).is_ok()
}

fn verification(
    section: &'static str,
    builder: ClientBuilder,
    config: &HttpClient,
    base: &Url,
) -> Result<ClientBuilder, ClientError> {
    let authorities = |message| ClientError::Authorities { section, message };
    match &config.verify_tls {
        VerifyTls::CaFile(path) => {
            let pem = secret_file::read(path).map_err(authorities)?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|error| authorities(format!("{path}: {}", chain(error))))?;
            if certificates.is_empty() {
                return Err(authorities(format!("{path}: has no PEM certificate")));
            }
            Ok(builder.tls_certs_only(certificates))
        }
        VerifyTls::Off => Ok(builder.tls_danger_accept_invalid_certs(true)),
        // Without TLS the system need not have any authorities; redirects to TLS are not followed.
        VerifyTls::System if base.scheme() == "http" => Ok(builder.tls_certs_only([])),
        VerifyTls::System => Ok(builder),
    }
}

fn client_certificate(section: &'static str, config: &HttpClient) -> Result<Option<Identity>, ClientError> {
    let certificate = |key, message| ClientError::ClientCertificate { section, key, message };
    let (cert_file, key_file) = match (&config.tls_cert_file, &config.tls_key_file) {
        (None, None) => return Ok(None),
        (Some(cert_file), Some(key_file)) => (cert_file, key_file),
        (Some(_), None) => return Err(certificate("tls_key_file", "missing, while tls_cert_file is set".into())),
        (None, Some(_)) => return Err(certificate("tls_cert_file", "missing, while tls_key_file is set".into())),
    };
    let mut pem = secret_file::read(cert_file).map_err(|message| certificate("tls_cert_file", message))?;
    if Certificate::from_pem_bundle(&pem).map_or(true, |certificates| certificates.is_empty()) {
        return Err(certificate("tls_cert_file", format!("{cert_file}: has no PEM certificate")));
    }
    let key = secret_file::read(key_file).map_err(|message| certificate("tls_key_file", message))?;
    pem.push(b'\n');
    pem.extend_from_slice(&key);
    let identity = Identity::from_pem(&pem)
        .map_err(|error| certificate("tls_key_file", format!("{key_file}: {}", chain(error))))?;
    Ok(Some(identity))
}

/// An error with its causes and without the URL.
pub fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let message = error.to_string();
        // Some causes repeat the one below them.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> HttpClient {
        HttpClient {
            url: url.into(),
            tenant_id: None,
            user: None,
            password: None,
            password_file: None,
            bearer_token: None,
            bearer_token_file: None,
            verify_tls: VerifyTls::System,
            tls_cert_file: None,
            tls_key_file: None,
            timeout: 1000,
        }
    }

    fn endpoint(config: &HttpClient) -> Result<Endpoint, ClientError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Endpoint::new("reader", config, Duration::from_secs(1))
    }

    #[test]
    fn a_tenant_goes_into_the_path_unless_the_url_has_one() {
        let url = |base: &str, tenant| {
            endpoint(&config(base)).unwrap().url("select", tenant, "/api/v1/query_range").to_string()
        };
        assert_eq!(url("http://vm:8428", None), "http://vm:8428/api/v1/query_range");
        assert_eq!(url("http://vm/p/", None), "http://vm/p/api/v1/query_range");
        assert_eq!(url("http://vm/p", Some("1:2")), "http://vm/p/select/1:2/prometheus/api/v1/query_range");
        assert_eq!(
            url("http://vm/select/multitenant/prometheus", Some("7")),
            "http://vm/select/multitenant/prometheus/api/v1/query_range"
        );
    }

    #[test]
    fn a_connection_that_cannot_work_is_refused_with_the_key_and_without_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let garbage = folder.path().join("garbage.pem").to_str().unwrap().to_owned();
        #[expect(clippy::disallowed_methods, reason = "the test's own file")]
        std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let base = config("https://vm");
        let with = |change: &dyn Fn(&mut HttpClient)| {
            let mut config = base.clone();
            change(&mut config);
            endpoint(&config).unwrap_err().to_string()
        };
        for (error, start) in [
            (with(&|c| c.url = "vm:8428".into()), "reader.datasource_url: the scheme"),
            (with(&|c| c.url = "http://u:hunter2@vm:port".into()), "reader.datasource_url: invalid port"),
            (with(&|c| c.verify_tls = VerifyTls::CaFile("/no/such/ca".into())), "reader.verify_tls: /no/such/ca: "),
            (with(&|c| c.verify_tls = VerifyTls::CaFile(garbage.clone())), "reader.verify_tls: "),
            (with(&|c| c.tls_cert_file = Some("/c".into())), "reader.tls_key_file: missing"),
            (with(&|c| c.tls_key_file = Some("/c".into())), "reader.tls_cert_file: missing"),
            (
                with(&|c| (c.tls_cert_file, c.tls_key_file) = (Some("/no/c".into()), Some("/no/k".into()))),
                "reader.tls_cert_file: /no/c: ",
            ),
            (
                with(&|c| (c.tls_cert_file, c.tls_key_file) = (Some(garbage.clone()), Some(garbage.clone()))),
                "reader.tls_key_file: ",
            ),
            (with(&|c| c.bearer_token = Some("hunter2\n".into())), "reader.bearer_token: "),
            (
                with(&|c| (c.user, c.bearer_token) = (Some("u".into()), Some("hunter2".into()))),
                "reader.user: set either",
            ),
        ] {
            assert!(error.starts_with(start), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn debug_output_has_no_secrets() {
        let mut config = config("http://user:hunter2@vm/path?key=hunter2");
        config.password = Some("hunter2".into());
        assert!(!format!("{:?}", endpoint(&config).unwrap()).contains("hunter2"));
    }
}
