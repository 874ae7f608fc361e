//! What the redactor tells apart, and how often it found each.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// Makes the enum, its markers and its list from one table.
macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident $marker:literal,)*) => {
        /// A class of sensitive values. Each is replaced by a marker of its own, such as `[REDACTED_EMAIL]`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum DataClass {
            $($(#[$doc])* $class,)*
        }

        impl DataClass {
            /// Every class, in the order in which counts are listed.
            pub const ALL: &'static [DataClass] = &[$(DataClass::$class,)*];

            /// The name in the marker: `EMAIL` in `[REDACTED_EMAIL]`. Empty for [`DataClass::Key`], whose marker is
            /// `[REDACTED]`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(DataClass::$class => $marker,)*
                }
            }
        }
    };
}

classes! {
    /// A value whose key names it as sensitive, whatever it looks like.
    Key "",
    /// An email address.
    Email "EMAIL",
    /// A payment card number that passes the Luhn check.
    Card "CREDIT_CARD",
    /// A United States social security number.
    Ssn "SSN",
    /// A phone number: United States, international or E.164, and national ones where the text says so.
    Phone "PHONE",
    /// An IPv4 address.
    Ipv4 "IPV4",
    /// An IPv6 address.
    Ipv6 "IPV6",
    /// The hardware address of a network card.
    Mac "MAC",
    /// An IBAN whose length and check digits are right.
    Iban "IBAN",
    /// An AWS access key id.
    AwsAccessKey "AWS_ACCESS_KEY",
    /// An AWS secret access key.
    AwsSecret "AWS_SECRET",
    /// The name of an AWS resource.
    AwsArn "AWS_ARN",
    /// A Google API key.
    GcpApiKey "GCP_API_KEY",
    /// The address of a Google service account.
    GcpServiceAccount "GCP_SERVICE_ACCOUNT",
    /// A Google OAuth client secret, access token or refresh token.
    GcpOauth "GCP_OAUTH",
    /// A JSON web token.
    Jwt "JWT",
    /// A GitHub token.
    GithubToken "GITHUB_TOKEN",
    /// A GitLab token.
    GitlabToken "GITLAB_TOKEN",
    /// A Slack token, or the path of a webhook.
    SlackToken "SLACK_TOKEN",
    /// A Stripe key.
    StripeKey "STRIPE_KEY",
    /// A token of another provider that is known by its form.
    ApiToken "API_TOKEN",
    /// What stands behind `Bearer`.
    Bearer "BEARER_TOKEN",
    /// What stands behind `Basic`.
    BasicAuth "BASIC_AUTH",
    /// The password in a URL.
    UrlPassword "URL_PASSWORD",
    /// A private key block.
    PrivateKey "PRIVATE_KEY",
    /// Long base64 without further hints.
    Base64 "BASE64",
    /// Long hexadecimal without further hints.
    Hex "HEX",
    /// The value in `key=value`, where the key names a secret.
    Secret "SECRET",
    /// What a pattern of the user's own found. Its marker has the pattern's name.
    Custom "CUSTOM",
    /// A text that could not be searched, because a hook of the user's own panicked.
    Unsearched "UNSEARCHED",
}

impl fmt::Display for DataClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.name().is_empty() { "KEY" } else { self.name() })
    }
}

/// How many values of each class were replaced.
///
/// Counts of several texts are added with `+=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts([u64; DataClass::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; DataClass::ALL.len()])
    }
}

impl From<[u64; DataClass::ALL.len()]> for Counts {
    fn from(counts: [u64; DataClass::ALL.len()]) -> Self {
        Self(counts)
    }
}

impl Counts {
    /// How many values of `class` were replaced.
    #[must_use]
    pub fn of(&self, class: DataClass) -> u64 {
        self.0[class as usize]
    }

    /// How many values were replaced.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The classes that were found at all, each with its count.
    pub fn iter(&self) -> impl Iterator<Item = (DataClass, u64)> + '_ {
        DataClass::ALL.iter().map(|class| (*class, self.of(*class))).filter(|(_, count)| *count > 0)
    }

    /// Takes back what was counted for the markers in this text.
    pub(super) fn take_back(&mut self, text: &[u8]) {
        const START: &[u8] = b"[REDACTED";
        for at in memchr::memmem::find_iter(text, START) {
            let name = &text[at + START.len()..];
            let name = name.strip_prefix(b"_").unwrap_or_default();
            let end = name.iter().position(|byte| matches!(byte, b']' | b':')).unwrap_or(name.len());
            let of_name = |class: &&DataClass| class.name().as_bytes() == &name[..end];
            if let Some(class) = DataClass::ALL.iter().find(of_name) {
                let count = &mut self.0[*class as usize];
                *count = count.saturating_sub(1);
            }
        }
    }

    pub(super) fn count(&mut self, class: DataClass) {
        self.0[class as usize] += 1;
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}
