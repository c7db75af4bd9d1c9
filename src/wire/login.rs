//! From the startup message to the first ReadyForQuery.
//!
//! A password goes out as SCRAM, which proves both sides to each other; in clear text or md5 only where the channel is
//! trusted ([`Channel::Trusted`]), since anyone who answers for the server would have it otherwise.
//!
//! Source: <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP>,
//! <https://www.postgresql.org/docs/current/sasl-authentication.html>.

use std::collections::BTreeMap;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;
use secrecy::{ExposeSecret, SecretString};

use super::ServerError;

/// What lies below the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// TLS that verified the server's name, loopback, or a Unix socket.
    Trusted { end_point: Option<Vec<u8>> },
    /// Everything else. `end_point` is the hash of the server's certificate (RFC 5929), where there is one.
    Untrusted { end_point: Option<Vec<u8>> },
    /// `channel_binding = "require"`: over it goes a login that is bound to this hash, or none.
    Bound { end_point: Vec<u8> },
}

impl Channel {
    /// The hash that a login can be bound to.
    #[must_use]
    pub fn end_point(&self) -> Option<&Vec<u8>> {
        match self {
            Self::Trusted { end_point } | Self::Untrusted { end_point } => end_point.as_ref(),
            Self::Bound { end_point } => Some(end_point),
        }
    }

    /// Whether what the server says first about the login may be answered over this channel.
    ///
    /// # Errors
    /// It asks for what would give the password away, or for less than has to be.
    pub fn permits(&self, asked: &Message) -> Result<(), LoginError> {
        match (self, asked) {
            (Self::Bound { .. }, Message::AuthenticationOk) => Err(LoginError::Unbound("lets this user in without it")),
            (Self::Bound { .. }, Message::AuthenticationSasl(body)) if !offers(body, SCRAM_SHA_256_PLUS) => {
                Err(LoginError::Unbound("offers SCRAM-SHA-256 without it"))
            }
            (Self::Bound { .. }, Message::AuthenticationCleartextPassword) => {
                Err(LoginError::Unbound("asks for the password in clear text"))
            }
            (Self::Bound { .. }, Message::AuthenticationMd5Password(_)) => {
                Err(LoginError::Unbound("asks for the password by md5"))
            }
            (Self::Untrusted { .. }, Message::AuthenticationCleartextPassword) => {
                Err(LoginError::Unsafe("in clear text"))
            }
            (Self::Untrusted { .. }, Message::AuthenticationMd5Password(_)) => Err(LoginError::Unsafe("by md5")),
            _ => Ok(()),
        }
    }
}

/// Whether the server offers `mechanism`; what can't be read is no offer.
fn offers(body: &AuthenticationSaslBody, mechanism: &str) -> bool {
    body.mechanisms().any(|offered| Ok(offered == mechanism)).unwrap_or(false)
}

/// The login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("the server asks for {0} authentication, which slotd does not speak")]
    Method(&'static str),
    #[error("the server asks for a password and none is given")]
    NoPassword,
    #[error("the server sent what does not belong into a login")]
    Protocol(#[source] Option<std::io::Error>),
    #[error("{0}")]
    Refused(ServerError),
    #[error("the server could not prove that it knows the password's verifier")]
    Scram(#[source] std::io::Error),
    #[error("channel_binding = \"require\" can't be kept: the server {0}")]
    Unbound(&'static str),
    #[error("the server asks for the password {0}, and the channel to it is not verified")]
    Unsafe(&'static str),
}

/// How far the login is.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The session is ready; the server's settings as it reported them.
    Ready(BTreeMap<String, String>),
    Waiting,
}

/// One login.
#[expect(missing_debug_implementations, reason = "holds a password")]
pub struct Login {
    user: String,
    password: Option<SecretString>,
    channel: Channel,
    scram: Option<ScramSha256>,
    /// The server has proved that it knows the password's verifier.
    proved: bool,
    /// The server has sent AuthenticationOk.
    admitted: bool,
    settings: BTreeMap<String, String>,
}

impl Login {
    /// Begins a login and appends the startup message with `parameters` to `out`.
    ///
    /// # Errors
    /// A parameter holds a NUL.
    pub fn start(
        user: &str,
        password: Option<SecretString>,
        channel: Channel,
        parameters: &[(&str, &str)],
        out: &mut BytesMut,
    ) -> Result<Self, LoginError> {
        let all = std::iter::once(("user", user)).chain(parameters.iter().copied());
        frontend::startup_message(all, out).map_err(|error| LoginError::Protocol(Some(error)))?;
        Ok(Self {
            user: user.to_owned(),
            password,
            channel,
            scram: None,
            proved: false,
            admitted: false,
            settings: BTreeMap::new(),
        })
    }

    /// Takes the server's next message and appends the answer, if it wants one, to `out`.
    ///
    /// # Errors
    /// The server refuses, asks for what must not be given, or breaks the protocol.
    pub fn step(&mut self, message: Message, out: &mut BytesMut) -> Result<Progress, LoginError> {
        let broken = |error| LoginError::Protocol(Some(error));
        self.in_order(&message)?;
        if !self.proved {
            self.channel.permits(&message)?;
        }
        match message {
            Message::AuthenticationOk => self.admitted = true,
            Message::BackendKeyData(_) | Message::NoticeResponse(_) => {}
            Message::AuthenticationCleartextPassword => {
                let password = self.password()?;
                frontend::password_message(password.expose_secret().as_bytes(), out).map_err(broken)?;
            }
            Message::AuthenticationMd5Password(body) => {
                let password = self.password()?;
                let hash = md5_hash(self.user.as_bytes(), password.expose_secret().as_bytes(), body.salt());
                frontend::password_message(hash.as_bytes(), out).map_err(broken)?;
            }
            Message::AuthenticationSasl(body) => self.begin_scram(&body, out)?,
            Message::AuthenticationSaslContinue(body) => {
                let scram = self.scram.as_mut().ok_or(LoginError::Protocol(None))?;
                scram.update(body.data()).map_err(LoginError::Scram)?;
                frontend::sasl_response(scram.message(), out).map_err(broken)?;
            }
            Message::AuthenticationSaslFinal(body) => {
                let scram = self.scram.as_mut().ok_or(LoginError::Protocol(None))?;
                scram.finish(body.data()).map_err(LoginError::Scram)?;
                self.proved = true;
            }
            Message::AuthenticationGss | Message::AuthenticationSspi => return Err(LoginError::Method("GSSAPI")),
            Message::AuthenticationKerberosV5 => return Err(LoginError::Method("Kerberos V5")),
            Message::AuthenticationScmCredential => return Err(LoginError::Method("SCM credential")),
            Message::ParameterStatus(body) => {
                let (name, value) = (body.name().map_err(broken)?, body.value().map_err(broken)?);
                self.settings.insert(name.to_owned(), value.to_owned());
            }
            Message::ReadyForQuery(_) => return Ok(Progress::Ready(std::mem::take(&mut self.settings))),
            Message::ErrorResponse(body) => {
                return Err(LoginError::Refused(ServerError::from_fields(body.fields())));
            }
            _ => return Err(LoginError::Protocol(None)),
        }
        Ok(Progress::Waiting)
    }

    /// A proof excuses AuthenticationOk and nothing else, and without that there is no session: whoever stands between
    /// could ask for the password in another way, or leave the proof out.
    fn in_order(&self, message: &Message) -> Result<(), LoginError> {
        let holds = match message {
            Message::AuthenticationCleartextPassword
            | Message::AuthenticationMd5Password(_)
            | Message::AuthenticationSasl(_)
            | Message::AuthenticationSaslContinue(_)
            | Message::AuthenticationSaslFinal(_) => !self.proved && !self.admitted,
            Message::AuthenticationOk => !self.admitted,
            Message::BackendKeyData(_) | Message::ParameterStatus(_) | Message::ReadyForQuery(_) => self.admitted,
            _ => true,
        };
        if holds { Ok(()) } else { Err(LoginError::Protocol(None)) }
    }

    fn begin_scram(&mut self, body: &AuthenticationSaslBody, out: &mut BytesMut) -> Result<(), LoginError> {
        let broken = |error| LoginError::Protocol(Some(error));
        let password = self.password()?;
        let (plain, plus) = (offers(body, SCRAM_SHA_256), offers(body, SCRAM_SHA_256_PLUS));
        let (mechanism, binding) = match self.channel.end_point() {
            Some(hash) if plus => (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash.clone())),
            // We could bind and the server says that it can't: a man in the middle is found out by this.
            Some(_) if plain => (SCRAM_SHA_256, ChannelBinding::unrequested()),
            None if plain => (SCRAM_SHA_256, ChannelBinding::unsupported()),
            _ => return Err(LoginError::Method("SASL, by a mechanism other than SCRAM-SHA-256,")),
        };
        let scram = ScramSha256::new(password.expose_secret().as_bytes(), binding);
        frontend::sasl_initial_response(mechanism, scram.message(), out).map_err(broken)?;
        self.scram = Some(scram);
        Ok(())
    }

    fn password(&self) -> Result<&SecretString, LoginError> {
        self.password.as_ref().ok_or(LoginError::NoPassword)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
    const CLEAR_TEXT: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
    const MD5: &[u8] = b"R\0\0\0\x0c\0\0\0\x05salt";
    const READY: &[u8] = b"Z\0\0\0\x05I";

    /// What becomes of a login over `channel`, proved or not, at which the server says these messages.
    fn login(channel: Channel, proved: bool, said: &[&[u8]]) -> Result<Progress, LoginError> {
        let mut out = BytesMut::new();
        let password = Some(SecretString::from("secret"));
        let mut login = Login::start("keeper", password, channel, &[], &mut out).unwrap();
        login.proved = proved;
        out.clear();
        let mut progress = Progress::Waiting;
        for message in said {
            let message = Message::parse(&mut BytesMut::from(*message)).unwrap().unwrap();
            let outcome = login.step(message, &mut out);
            assert!(outcome.is_ok() || out.is_empty(), "it was answered all the same");
            progress = outcome?;
        }
        Ok(progress)
    }

    fn bound() -> Channel {
        Channel::Bound { end_point: vec![0; 32] }
    }

    fn untrusted() -> Channel {
        Channel::Untrusted { end_point: None }
    }

    #[test]
    fn who_has_not_let_us_in_has_no_session_for_us() {
        for channel in [bound(), untrusted(), Channel::Trusted { end_point: None }] {
            assert!(matches!(login(channel, false, &[READY]), Err(LoginError::Protocol(None))));
        }
        assert!(matches!(login(bound(), false, &[OK, READY]), Err(LoginError::Unbound(_))));
        assert!(matches!(login(bound(), true, &[READY]), Err(LoginError::Protocol(None))));
        assert!(matches!(login(bound(), true, &[OK, READY]), Ok(Progress::Ready(_))));
        assert!(matches!(login(untrusted(), false, &[OK, READY]), Ok(Progress::Ready(_))));
    }

    #[test]
    fn after_a_proof_no_password_is_given_in_another_way() {
        for channel in [bound, untrusted, || Channel::Trusted { end_point: None }] {
            for asked in [CLEAR_TEXT, MD5] {
                assert!(matches!(login(channel(), true, &[asked]), Err(LoginError::Protocol(None))));
                assert!(login(channel(), true, &[OK, asked]).is_err());
            }
        }
        assert!(matches!(login(untrusted(), false, &[CLEAR_TEXT]), Err(LoginError::Unsafe(_))));
        assert!(login(Channel::Trusted { end_point: None }, false, &[CLEAR_TEXT, OK, READY]).is_ok());
    }
}
