//! What SCRAM binds to: `tls-server-end-point`.
//!
//! Source: RFC 5929, section 4.1.

use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::asn1::ContextSpecific;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, ID_RSASSA_PSS, ID_SHA_1, ID_SHA_256, ID_SHA_384,
    ID_SHA_512, SHA_1_WITH_RSA_ENCRYPTION, SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION,
    SHA_512_WITH_RSA_ENCRYPTION,
};
use x509_cert::der::{Decode, SliceReader, TagNumber};
use x509_cert::spki::AlgorithmIdentifierOwned;

/// The hash of the server's certificate `der`, by its own signature's hash, SHA-256 at the least. `None` where the
/// signature names no hash (Ed25519).
pub(super) fn end_point(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::from_der(der).ok()?;
    match hash(certificate.signature_algorithm())? {
        ID_SHA_1 | ID_SHA_256 => Some(Sha256::digest(der).to_vec()),
        ID_SHA_384 => Some(Sha384::digest(der).to_vec()),
        ID_SHA_512 => Some(Sha512::digest(der).to_vec()),
        _ => None,
    }
}

fn hash(signature: &AlgorithmIdentifierOwned) -> Option<ObjectIdentifier> {
    match signature.oid {
        SHA_1_WITH_RSA_ENCRYPTION => Some(ID_SHA_1),
        SHA_256_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_256 => Some(ID_SHA_256),
        SHA_384_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_384 => Some(ID_SHA_384),
        SHA_512_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_512 => Some(ID_SHA_512),
        ID_RSASSA_PSS => hash_of_pss(signature),
        _ => None,
    }
}

/// The first of RSASSA-PSS-params is the hash, SHA-1 unless given (RFC 4055, section 3.1).
fn hash_of_pss(signature: &AlgorithmIdentifierOwned) -> Option<ObjectIdentifier> {
    let parameters = signature.parameters.as_ref()?.value();
    if parameters.is_empty() {
        return Some(ID_SHA_1);
    }
    let mut reader = SliceReader::new(parameters).ok()?;
    let given = ContextSpecific::<AlgorithmIdentifierOwned>::decode_explicit(&mut reader, TagNumber(0)).ok()?;
    Some(given.map_or(ID_SHA_1, |given| given.value.oid))
}
