//! Certificates for servers and clients: an authority, leaves below it, lists of what it revoked.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, RevokedCertParams, SerialNumber, SignatureAlgorithm, date_time_ymd,
};

/// A certificate authority of one test.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    pub(crate) fn new() -> Self {
        Self::named("the authority of a test")
    }

    /// A new one of that name.
    pub(crate) fn named(name: &str) -> Self {
        Self::signing_by(name, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// A new one of that name, that signs by `algorithm`.
    pub(crate) fn signing_by(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate_for(algorithm).unwrap()).unwrap();
        Self { issuer }
    }

    /// Its own certificate, for `ssl_root_cert`.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its own certificate and key, as if they were a server's.
    pub(crate) fn itself(&self) -> (String, String) {
        (self.pem(), self.issuer.key().serialize_pem())
    }

    /// A certificate for these names and addresses, and its key; for [`super::Options::certificate`].
    pub(crate) fn leaf(&self, names: &[&str]) -> (String, String) {
        self.leaf_with("rcgen self signed cert", names, |_| {})
    }

    /// The same of the common name `subject`, made as `how` has it.
    pub(crate) fn leaf_with(
        &self,
        subject: &str,
        names: &[&str],
        how: impl Fn(&mut CertificateParams),
    ) -> (String, String) {
        let names: Vec<String> = names.iter().copied().map(String::from).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, subject);
        how(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (leaf.pem(), key.serialize_pem())
    }

    /// Its list of revoked certificates, which is good until the end of the year `until`.
    pub(crate) fn crl(&self, revoked: &[u64], until: i32) -> String {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until, 12, 31),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}
