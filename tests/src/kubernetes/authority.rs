//! The certificate authority of a control plane, and the keys that it works with.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use super::KubernetesError;

/// A certificate with its key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS #8.
    pub key: String,
}

/// A key pair without a certificate, both PEM.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// The private key, PKCS #8.
    pub private: String,
    /// The public key.
    pub public: String,
}

/// Signs the certificates of one control plane.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A new one with a key of its own.
    ///
    /// # Errors
    /// When the key or the certificate cannot be made.
    pub fn new() -> Result<Self, KubernetesError> {
        let failed = |source| failed("the authority", source);
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "tests");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(failed)?;
        CertifiedIssuer::self_signed(parameters, key).map(Self).map_err(failed)
    }

    /// Its own certificate, PEM: what clients trust.
    #[must_use]
    pub fn certificate(&self) -> String {
        self.0.pem()
    }

    /// A server that is reached under `names`: DNS names and IP addresses.
    ///
    /// # Errors
    /// When a name is no ASCII, or the certificate cannot be made.
    pub fn server(&self, names: &[&str]) -> Result<Identity, KubernetesError> {
        let subject = names.join(", ");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let parameters = CertificateParams::new(names).map_err(|source| failed(&subject, source))?;
        self.issue(&subject, parameters, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client that the API server takes for the user `user`, its common name, in `group`, its organisation.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, KubernetesError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            parameters.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.issue(user, parameters, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(
        &self,
        subject: &str,
        mut parameters: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
    ) -> Result<Identity, KubernetesError> {
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().map_err(|source| failed(subject, source))?;
        let certificate = parameters.signed_by(&key, &self.0).map_err(|source| failed(subject, source))?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Authority")
    }
}

impl SigningKey {
    /// A new one, with which the API server signs ServiceAccounts' tokens.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new() -> Result<Self, KubernetesError> {
        let key = KeyPair::generate().map_err(|source| failed("the tokens' key", source))?;
        Ok(Self { private: key.serialize_pem(), public: key.public_key_pem() })
    }
}

fn failed(subject: &str, source: rcgen::Error) -> KubernetesError {
    KubernetesError::Certificate { subject: subject.to_owned(), source }
}
