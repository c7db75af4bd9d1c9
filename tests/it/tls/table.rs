//! Case, sentence, hint.

/// Every refusal that has words of its own, as it is told of `db.example.com:5432`, with files in `/etc/slotd`, on a day
/// that is five days away from the dates in it.
pub(super) const TABLE: &[(&str, &str, &str)] = &[
    (
        "expired",
        "db.example.com:5432: the server's certificate expired at 2025-01-01T00:00:00Z, 5 days ago (it is CN=db, \
         for 127.0.0.1, issued by CN=the authority)",
        "renew it on the server and run there: SELECT pg_reload_conf(); slotd tries again by itself",
    ),
    (
        "not valid yet",
        "db.example.com:5432: the server's certificate is not valid before 2099-01-01T00:00:00Z, in 5 days (it is \
         CN=db, for 127.0.0.1, issued by CN=the authority)",
        "correct the clock of this host, or of the one that made the certificate; slotd tries again by itself",
    ),
    (
        "for another name or address",
        "db.example.com:5432: the server's certificate is for db.internal and 10.0.0.1, and not for 127.0.0.1 (it \
         is CN=db, for db.internal and 10.0.0.1, issued by CN=the authority)",
        "give `hostname` as the certificate has it, have one made for 127.0.0.1, or write `ssl_mode = \
         \"verify-ca\"`, which leaves the name unverified",
    ),
    (
        "for no name",
        "db.example.com:5432: the server's certificate names no host in its subjectAltName, and should name \
         127.0.0.1 (it is CN=db, issued by CN=the authority)",
        "have one made with 127.0.0.1 in its subjectAltName, or write `ssl_mode = \"verify-ca\"`, which leaves the \
         name unverified",
    ),
    (
        "of an unknown authority",
        "db.example.com:5432: the server's certificate is issued by CN=a stranger, who is not in ssl_root_cert \
         /etc/slotd/root.pem (it is CN=db, for 127.0.0.1, issued by CN=a stranger)",
        "get the certificate of CN=a stranger from who runs the server, and add it to `ssl_root_cert` \
         /etc/slotd/root.pem",
    ),
    (
        "of an authority with another key",
        "db.example.com:5432: the server's certificate is not signed by the CN=the authority that slotd trusts, but \
         by another of that name (it is CN=db, for 127.0.0.1, issued by CN=the authority)",
        "get the present certificate of CN=the authority from who runs the server, and add it to `ssl_root_cert` \
         /etc/slotd/root.pem; or find out who answers in the server's place",
    ),
    (
        "an authority's own",
        "db.example.com:5432: the server shows the certificate of an authority (CA:TRUE) as its own (it is CN=the \
         authority, self-signed)",
        "give the server a certificate of its own that the authority has signed; `openssl req -x509` makes an \
         authority unless it is given `-addext basicConstraints=critical,CA:FALSE`",
    ),
    (
        "self-signed",
        "db.example.com:5432: the server's certificate is self-signed, and is not in ssl_root_cert \
         /etc/slotd/root.pem (it is CN=db, for 127.0.0.1, self-signed)",
        "get the certificate from who runs the server, and add it to `ssl_root_cert` /etc/slotd/root.pem; or have \
         an authority sign one",
    ),
    (
        "revoked",
        "db.example.com:5432: the server's certificate was revoked at 2025-01-01T00:00:00Z, 5 days ago, says \
         ssl_crl /etc/slotd/crl.pem (it is CN=db, for 127.0.0.1, issued by CN=the authority)",
        "give the server a new certificate; if it is not the server's, find out who answers in its place",
    ),
    (
        "without a list of its issuer",
        "db.example.com:5432: ssl_crl /etc/slotd/crl.pem has no list of CN=the authority, so whether the server's \
         certificate was revoked is not known (it is CN=db, for 127.0.0.1, issued by CN=the authority)",
        "add the list of CN=the authority to `ssl_crl`, or leave `ssl_crl` out",
    ),
    (
        "with a list that is too old",
        "db.example.com:5432: the list in ssl_crl /etc/slotd/crl.pem expired at 2024-12-31T00:00:00Z, 5 days ago, \
         so whether the server's certificate was revoked is not known (it is CN=db, for 127.0.0.1, issued by CN=the \
         authority)",
        "put the authority's present list into that file; slotd reads it again by itself",
    ),
    (
        "with a list of another key",
        "db.example.com:5432: the list in ssl_crl /etc/slotd/crl.pem is not signed by CN=the authority, whose name \
         it has (it is CN=db, for 127.0.0.1, issued by CN=the authority)",
        "put the list that CN=the authority itself has signed into `ssl_crl`",
    ),
    (
        "too old a TLS",
        "db.example.com:5432: the server speaks neither TLS 1.2 nor TLS 1.3, and slotd nothing older",
        "raise ssl_max_protocol_version on the server to TLSv1.2 or more",
    ),
    (
        "no TLS at all",
        "db.example.com:5432: the server does not offer TLS",
        "set `ssl = on` on the server, or `ssl = false` here to send everything in plain text",
    ),
    (
        "direct TLS before 17",
        "db.example.com:5432: the server closed the connection when TLS began without a request, as servers before \
         PostgreSQL 17 do (ssl_negotiation is \"direct\")",
        "leave `ssl_negotiation` out, unless the server is of 17 or later and only being restarted",
    ),
    (
        "no client certificate",
        "db.example.com:5432: the server demands a client certificate, and none is given: connection requires a \
         valid client certificate (SQLSTATE 28000)",
        "give `ssl_cert` and `ssl_key`",
    ),
    (
        "a client certificate of another user",
        "db.example.com:5432: the client certificate /etc/slotd/client.crt is not the user's: certificate \
         authentication failed for user \"keeper\" (SQLSTATE 28000)",
        "its common name has to be keeper, or pg_ident.conf has to map it to keeper and pg_hba.conf to name that \
         map",
    ),
    (
        "a client certificate of an unknown authority",
        "db.example.com:5432: the server does not know who issued the client certificate (it is CN=keeper, issued \
         by CN=a stranger, from /etc/slotd/client.crt)",
        "add the certificate of CN=a stranger to the server's ssl_ca_file, or give another `ssl_cert`",
    ),
    (
        "an expired client certificate",
        "db.example.com:5432: the server refuses the client certificate as expired: it was valid until \
         2025-01-01T00:00:00Z, 5 days ago (it is CN=keeper, issued by CN=the authority, from /etc/slotd/client.crt)",
        "renew `ssl_cert` /etc/slotd/client.crt; slotd reads it again by itself",
    ),
    (
        "a key of another certificate",
        "db.example.com:5432: ssl_key /etc/slotd/client.key is not the key of the certificate in ssl_cert \
         /etc/slotd/client.crt",
        "name a certificate and its own key in `ssl_cert` and `ssl_key`",
    ),
    (
        "a key that others can read",
        "db.example.com:5432: ssl_key /etc/slotd/client.key can be read by others: its mode is 0644",
        "run: chmod 0600 /etc/slotd/client.key (0640 is enough if root owns it)",
    ),
    (
        "a file that is missing",
        "db.example.com:5432: ssl_key /etc/slotd/client.key can't be read: No such file or directory (os error 2)",
        "make `ssl_key` a file that the user of slotd can read",
    ),
    (
        "a certificate that can't be bound to",
        "db.example.com:5432: channel_binding = \"require\" can't be kept: the server's certificate is signed by \
         Ed25519, which names no hash to bind to",
        "give the server a certificate that is signed by RSA or ECDSA, or leave `channel_binding` out",
    ),
    (
        "a login that is not bound",
        "db.example.com:5432: channel_binding = \"require\" can't be kept: the server lets this user in without it",
        "let pg_hba.conf ask this user for scram-sha-256 in a hostssl line, and let TLS end at the server itself; \
         or leave `channel_binding` out",
    ),
    (
        "plain text behind the yes",
        "db.example.com:5432: the server went on in plain text after its yes to TLS; nothing of that was taken",
        "find out who stands between slotd and the server: Postgres never does that",
    ),
    (
        "neither yes nor no",
        "db.example.com:5432: the server answered the request for TLS with the byte 0x48, which is neither yes nor \
         no",
        "correct `hostname` and `port`: this is no Postgres server",
    ),
    (
        "an answer that is an error",
        "db.example.com:5432: the server could not begin a session",
        "see the server's log: it lacks memory or processes",
    ),
    (
        "no TLS behind the yes",
        "db.example.com:5432: what the server sends where TLS should begin is not TLS",
        "correct `hostname` and `port`, or find out what stands between slotd and the server",
    ),
    (
        "a proxy that agrees on no protocol",
        "db.example.com:5432: the server began TLS without agreeing on the protocol postgresql (ALPN), as \
         ssl_negotiation \"direct\" demands",
        "leave `ssl_negotiation` out: a proxy ends TLS here that does not know it",
    ),
    (
        "another protocol",
        "db.example.com:5432: the server does not know the protocol postgresql (ALPN)",
        "correct `hostname` and `port`: this is no Postgres server, or a proxy for others",
    ),
];
