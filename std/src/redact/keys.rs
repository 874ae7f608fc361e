//! Names of keys whose values are sensitive, compared without case and separators.

use std::sync::OnceLock;

use hashbrown::HashMap;

/// What a key says about its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Plain,
    /// It is about a person: hidden under its key in JSON, and in forms.
    Personal,
    /// It is a secret: hidden in prose as well.
    Secret,
    /// It is a password: plain words may be one.
    Password,
}

impl Kind {
    /// Whether it is hidden in prose.
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Password)
    }
}

/// Names that are sensitive as a whole.
#[rustfmt::skip]
const SECRETS: &[&str] = &[
    "accesskey", "accesstoken", "apikey", "apisecret", "apitoken", "appsecret", "assertion", "auth", "authcode",
    "authheader", "authkey", "authorization", "authorizationcode", "authtoken", "awsaccesskey", "awssecret", "awssecretaccesskey",
    "awssecretkey", "awssessiontoken", "azurekey", "backupcodes", "bearer", "bearertoken", "certificate",
    "clientassertion", "clientcert", "clientcertificate", "clientsecret", "codeverifier", "connectionstring",
    "connectsid", "connstr", "consumersecret", "contrasena", "cookie", "cookies", "credential", "credentials", "csrf",
    "csrftoken", "databasepassword", "dbpassword", "encryptionkey", "gcpkey", "githubtoken", "gitlabtoken",
    "googlekey", "hmackey", "idtoken", "jsessionid", "jwt", "jwtsecret", "jwttoken", "kennwort", "masterauth", "masterkey", "mfacode",
    "mfasecret", "mfatoken", "mnemonic", "motdepasse", "oauthsignature", "oauthtoken", "oauthverifier", "onetimepassword", "otp",
    "otpcode", "pass", "passcode", "passphrase", "passw", "passwd", "password", "passwordhash", "passwort", "pgpkey",
    "phpsessid", "pin", "pincode", "pinno", "pinnumber", "presharedkey", "privatekey", "privatekeyid", "proxyauthorization", "psk", "pw",
    "pwd", "pwhash", "recoverycode", "recoverycodes", "refreshtoken", "requirepass", "salt", "secret", "secretaccesskey", "secretkey",
    "secrets", "securityanswer", "securitycode", "securitytoken", "seedphrase", "senha", "sessid", "sessioncookie",
    "sessionid", "sessionidentifier", "sessionkey", "sessiontoken", "setcookie", "sid", "signature", "signingkey",
    "signingsecret", "slacktoken", "sshkey", "stripekey", "subscriptionkey", "token", "tokens", "totp",
    "totpsecret", "twofactorcode", "webhooksecret", "verificationcode", "xsrf", "xsrftoken",
];
/// Names of what is personal, as a whole or as the end of a longer name.
#[rustfmt::skip]
const PERSONAL: &[&str] = &[
    "aadhaar", "aadhaarnumber", "accesskeyid", "accountnumber", "acctno", "acctnumber", "address", "addressline",
    "awsaccesskeyid", "bankaccount", "bankaccountno", "bankaccountnumber", "bic", "billingaddress", "birthdate",
    "birthday", "bsb", "cardcvc", "cardcvv", "cardholder", "cardholdername", "cardno", "cardnumber", "ccnum",
    "ccnumber", "cellphone", "cnpj", "contactnumber", "cpf", "creditcard", "creditcardnumber", "cvc", "cvv",
    "dateofbirth", "debitcard", "dlnumber", "dob", "driverlicense", "driverlicensenumber", "driverslicense",
    "driverslicensenumber", "ein", "email", "emailaddress", "emailaddresses", "emailid", "emails", "fax",
    "faxnumber", "healthrecordnumber", "homeaddress", "iban", "ibancode", "ibannumber", "insurancenumber", "itin",
    "licensenumber", "licenseplate", "maidenname", "mailingaddress", "medicalrecordnumber", "mobile", "mobileno",
    "mobilenumber", "mobilephone", "mothersmaidenname", "mrn", "nationalid", "nationalinsurancenumber", "nino",
    "ninumber", "passport", "passportno", "passportnumber", "patientid", "pesel", "phone", "phoneno", "phonenumber",
    "phonenumbers", "phones", "postaladdress", "routingnumber", "securityquestion", "shippingaddress",
    "socialinsurancenumber", "socialsecurity", "socialsecuritynumber", "sortcode", "ssn", "streetaddress",
    "swiftcode", "taxid", "taxidnumber", "taxnumber", "tel", "telephone", "telephonenumber", "tin", "vatid",
    "vatnumber", "workphone",
];
/// The last words of longer names that are personal.
#[rustfmt::skip]
const PERSONAL_ENDS: &[&str] = &[
    "accountnumber", "acctno", "acctnumber", "addressline", "bankaccount", "billingaddress", "birth", "birthdate",
    "cardno", "cardnumber", "cellphone", "contactnumber", "creditcard", "cvc", "cvv", "debitcard", "dob", "email",
    "emailaddress", "fax", "faxnumber", "homeaddress", "iban", "insurancenumber", "licensenumber", "maidenname",
    "medicalrecordnumber", "mobile", "mobileno", "mobilenumber", "passportno", "passportnumber", "phone", "phoneno",
    "phonenumber", "postaladdress", "recordnumber", "routingnumber", "securitynumber", "shippingaddress",
    "socialsecurity", "ssn", "streetaddress", "taxid", "telephone",
];
/// Last words that make a longer name a secret.
#[rustfmt::skip]
const SECRET_ENDS: &[&str] = &[
    "apikey", "auth", "authorization", "cookie", "credential", "credentials", "csrf", "jwt", "passcode",
    "passphrase", "passwd", "password", "passwords", "pw", "pwd", "secret", "secrets", "signature", "token", "xsrf",
];
/// Two last words that make a longer name a secret.
#[rustfmt::skip]
const SECRET_PAIRS: &[&str] = &[
    "accesskey", "accesstokens", "accountkey", "adminkey", "adminpass", "apikey", "apikeys", "apitokens", "appkey",
    "authcode", "authkey", "awskey", "azurekey", "backupcodes", "bindpw", "bottokens", "clientcert",
    "clientcertificate", "clientkey", "connectionstr", "connectionstring", "connstr", "consumerkey", "dbpass",
    "deploykey", "encryptionkey", "ftppass", "functionkey", "githubpat", "functionskey", "gcpkey", "googlekey", "hmackey",
    "hostkey", "keystorepass", "kmssecret", "ldappass", "licensekey", "mailpass", "masterkey", "mnemonicphrase", "mysqlpass", "pgpkey", "presharedkey", "privatekey", "proxypass",
    "recoverycode", "recoverycodes", "refreshtokens", "rootpass", "secretkey", "securityanswer", "seedphrase",
    "serverkey", "servicekey", "sessionid", "sessionidentifier", "sessionkey", "sessiontokens", "sharedkey",
    "signingkey", "smtppass", "snmpcommunity", "sshkey", "sshpass", "storepass", "sslkey", "storagekey", "stripekey", "subscriptionkey", "tlskey",
    "userpass", "webhookkey", "wifipsk",
];
/// Words anywhere in a name that make it a secret.
const SECRET_WORDS: &[&str] = &["credential", "credentials", "passphrase", "passwd", "password", "pwd", "secret"];
/// Last words that say the value is about a secret and not the secret.
#[rustfmt::skip]
const BENIGN_ENDS: &[&str] = &[
    "access", "age", "ago", "alg", "algorithm", "alias", "arn", "at", "attempts", "audience", "change", "changed",
    "check", "class", "column", "confirmed", "count", "counter", "created", "date", "days", "disabled", "domain",
    "enabled", "endpoint", "error", "event", "expiration", "expired", "expires", "expiry", "failed", "field",
    "file", "filename", "format", "frequency", "groups", "hint", "hour", "id", "ids", "in", "index", "input",
    "issuer", "kind", "label", "last", "length", "level", "limit", "link", "location", "management", "max",
    "message", "method", "min", "mode", "name", "names", "notification", "notifications", "owner", "path",
    "placeholder", "policy", "preference", "preferences", "prompt", "provider", "quota", "ratio", "region",
    "remaining", "required", "requirements", "reset", "result", "rotation", "rule", "rules", "scope", "scopes",
    "sent", "service", "size", "source", "state", "status", "store", "strength", "template", "time", "timeout",
    "tool", "total", "ttl", "type", "types", "updated", "uri", "url", "usage", "used", "user", "username", "valid",
    "verified", "version",
];

/// Services whose keys have no form of their own, so that only the name tells what they are.
#[rustfmt::skip]
const SERVICES: &[&str] = &[
    "airtable", "algolia", "anthropic", "asana", "bitbucket", "bugsnag", "circleci", "cloudflare", "cloudinary",
    "codecov", "cohere", "contentful", "datadog", "deepl", "digitalocean", "discord", "dropbox", "etherscan", "fastly",
    "figma", "flickr", "grafana", "heroku", "honeycomb", "hubspot", "infura", "intercom", "jira", "launchdarkly",
    "linode", "logdna", "mailchimp", "mailgun", "mailjet", "mapbox", "mistral", "mixpanel", "netlify", "newrelic",
    "ngrok", "notion", "okta", "openai", "openweathermap", "opsgenie", "pagerduty", "paypal", "pinecone", "plaid",
    "postmark", "pusher", "razorpay", "rollbar", "sendgrid", "sentry", "shippo", "shopify", "snyk", "splunk",
    "spotify", "statuspage", "supabase", "telegram", "trello", "twilio", "twitch", "typeform", "unsplash", "vercel",
    "vonage", "vultr", "zapier", "zendesk",
];

/// Last words that say where a value is used or how it is written, and nothing of what it is.
#[rustfmt::skip]
const ASIDES: &[&str] = &[
    "backup", "base", "current", "decrypted", "dev", "encoded", "encrypted", "live", "new", "old", "pem", "plain",
    "plaintext", "primary", "prod", "production", "raw", "secondary", "stage", "staging", "value",
];

/// The longest key that is looked at as a whole; of longer ones, the end.
const LONGEST: usize = 96;
/// As many words as are told apart.
const WORDS: usize = 12;

/// Which of the lists a name is in.
const SECRET: u16 = 1;
const PERSON: u16 = 2;
const PERSON_END: u16 = 4;
const SECRET_END: u16 = 8;
const SECRET_PAIR: u16 = 16;
const SECRET_WORD: u16 = 32;
const BENIGN_END: u16 = 64;
const ASIDE: u16 = 128;
const SERVICE: u16 = 256;

/// The lists as one table, so that a name is looked up once.
fn lists(name: &[u8]) -> u16 {
    static TABLE: OnceLock<HashMap<&'static [u8], u16>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let lists = [
            (SECRETS, SECRET),
            (PERSONAL, PERSON),
            (PERSONAL_ENDS, PERSON_END),
            (SECRET_ENDS, SECRET_END),
            (SECRET_PAIRS, SECRET_PAIR),
            (SECRET_WORDS, SECRET_WORD),
            (BENIGN_ENDS, BENIGN_END),
            (ASIDES, ASIDE),
            (SERVICES, SERVICE),
        ];
        let mut table = HashMap::new();
        for (name, list) in lists.iter().flat_map(|(names, list)| names.iter().map(|name| (name.as_bytes(), *list))) {
            *table.entry(name).or_default() |= list;
        }
        table
    });
    table.get(name).copied().unwrap_or(0)
}

/// A key in lower case without separators and digits behind words, with the places where its words start.
#[derive(Clone, Copy)]
pub(super) struct Words {
    letters: [u8; LONGEST],
    len: usize,
    starts: [usize; WORDS],
    count: usize,
}

impl Words {
    /// Splits at separators and where a capital starts a word: `x-api-key`, `APIKey`, `apiKey`.
    pub(super) fn of(key: &[u8]) -> Self {
        let key = &key[key.len().saturating_sub(LONGEST)..];
        let mut words = Self { letters: [0; LONGEST], len: 0, starts: [0; WORDS], count: 0 };
        let mut new = true;
        for (at, byte) in key.iter().enumerate() {
            let last = at.checked_sub(1).map_or(0, |at| key[at]);
            let hump = byte.is_ascii_uppercase()
                && (last.is_ascii_lowercase()
                    || last.is_ascii_digit()
                    || key.get(at + 1).is_some_and(u8::is_ascii_lowercase));
            new |= hump;
            if byte.is_ascii_alphabetic() || *byte >= 0x80 {
                if new && words.count < WORDS {
                    words.starts[words.count] = words.len;
                    words.count += 1;
                }
                (words.letters[words.len], new) = (byte.to_ascii_lowercase(), false);
                words.len += 1;
            } else if !byte.is_ascii_digit() {
                new = true;
            }
        }
        words
    }

    /// The name without separators.
    pub(super) fn joined(&self) -> &[u8] {
        &self.letters[..self.len]
    }

    /// The last words, without separators.
    fn last(&self, words: usize) -> &[u8] {
        let start = self.count.checked_sub(words).map_or(0, |word| self.starts[word]);
        &self.letters[start..self.len]
    }

    fn word(&self, at: usize) -> &[u8] {
        let end = if at + 1 < self.count { self.starts[at + 1] } else { self.len };
        &self.letters[self.starts[at]..end]
    }

    /// Whether a word of the name, or its end, is one for a password.
    fn names_password(&self) -> bool {
        const ENDS: &[&[u8]] =
            &[b"password", b"passwords", b"passwd", b"pwd", b"pass", b"passphrase", b"passcode", b"pin", b"passwort"];
        (0..self.count).any(|at| ENDS.iter().any(|end| self.word(at).ends_with(end)))
    }

    /// Whether the name is of a thing that has an address, and not of somebody.
    fn names_machine(&self) -> bool {
        #[rustfmt::skip]
const THINGS: &[&[u8]] = &[
    b"base", b"bind", b"bitcoin", b"bluetooth", b"bus", b"client", b"contract", b"dest", b"destination", b"dst",
    b"end", b"eth", b"forwarded", b"gateway", b"hardware", b"host", b"http", b"ip", b"ipv", b"listen", b"local",
    b"mac", b"memory", b"network", b"node", b"peer", b"private", b"proxy", b"public", b"remote", b"return",
    b"server", b"socket", b"source", b"src", b"start", b"target", b"token", b"url", b"wallet", b"web", b"x",
];
        THINGS.iter().any(|thing| self.has(thing))
    }

    fn has(&self, word: &[u8]) -> bool {
        (0..self.count).any(|at| self.word(at) == word)
    }
}

/// What a key says about its value.
pub(super) fn kind(key: &[u8]) -> Kind {
    kind_of(&Words::of(key))
}

pub(super) fn kind_of(words: &Words) -> Kind {
    match plain_kind_of(words) {
        Kind::Secret if words.names_password() => Kind::Password,
        kind => kind,
    }
}

fn plain_kind_of(words: &Words) -> Kind {
    if words.len < 2 {
        return Kind::Plain;
    }
    let name = words.joined();
    let bare = if words.count > 1 && words.word(0) == b"x" { &name[1..] } else { name };
    let whole = lists(bare);
    if whole & (SECRET | PERSON) != 0 {
        return if whole & SECRET != 0 { Kind::Secret } else { Kind::Personal };
    }
    let (one, last) = (lists(words.last(1)), words.last(1));
    if one & ASIDE != 0 && words.count > 1 {
        let mut fewer = *words;
        fewer.count -= 1;
        fewer.len = fewer.starts[fewer.count];
        return plain_kind_of(&fewer);
    }
    // Judged as a pair first: a session id is a secret, other ids are not.
    let two = if words.count == 1 { one } else { lists(words.last(2)) };
    if two & SECRET_PAIR != 0 {
        return Kind::Secret;
    }
    // `HEROKU_KEY`, `openai.key`.
    if last == b"key" && words.count > 1 && is_service(words.word(words.count - 2)) {
        return Kind::Secret;
    }
    if words.count > 1 && two & PERSON_END != 0 {
        return Kind::Personal;
    }
    if one & BENIGN_END != 0 || (last == b"tokens" && words.count > 1) {
        return Kind::Plain;
    }
    if one & SECRET_END != 0 || (0..words.count).any(|at| lists(words.word(at)) & SECRET_WORD != 0) {
        return Kind::Secret;
    }
    let glued = [&b"password"[..], b"passwd", b"secret", b"token", b"apikey", b"sessionid", b"pwd", b"passphrase"];
    if glued.iter().any(|end| last.len() > end.len() && last.ends_with(end)) {
        return Kind::Secret;
    }
    let three = if words.count > 2 { lists(words.last(3)) } else { 0 };
    let ends = (one | two | three) & PERSON_END != 0 || (last == b"address" && !words.names_machine());
    if ends || (words.has(b"credit") && words.has(b"card")) { Kind::Personal } else { Kind::Plain }
}

/// Whether a word names a service whose keys have no form of their own.
pub(super) fn is_service(word: &[u8]) -> bool {
    let mut lower = [0; 16];
    let Some(lower) = lower.get_mut(..word.len()) else { return false };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    lists(lower) & SERVICE != 0
}

/// Whether a key speaks of AWS.
pub(super) fn is_of_aws(key: &[u8]) -> bool {
    let words = Words::of(key);
    [&b"aws"[..], b"amazon", b"access"].iter().any(|word| memchr::memmem::find(words.joined(), word).is_some())
}
