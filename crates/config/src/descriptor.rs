//! What is known about a setting, and the macro that derives it from the declarations in `tree.rs`.

use crate::tree::Config;
use crate::value::Raw;
use serde_json::Value as Json;

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// When the configuration is reloaded.
    Live,
    /// When the server is restarted.
    Restart,
}

impl Reload {
    /// The word of `config show` and the schema.
    pub fn name(self) -> &'static str {
        match self {
            Reload::Live => "live",
            Reload::Restart => "restart",
        }
    }

    /// The words used in the reference.
    pub fn words(self) -> &'static str {
        match self {
            Reload::Live => "live on reload",
            Reload::Restart => "needs a restart",
        }
    }
}

/// One setting. Made by the `settings!` macro only.
#[derive(Debug)]
pub struct Descriptor {
    /// `section.key`, as in the file.
    pub name: &'static str,
    /// The section.
    pub section: &'static str,
    /// What it means, one line or several.
    pub doc: &'static str,
    /// What kind of value it takes, in words.
    pub kind: &'static str,
    /// What the members of a list are; empty when it is none.
    pub members: &'static str,
    /// The unit of a number; empty when it has none.
    pub unit: &'static str,
    /// Least and greatest number.
    pub range: (u64, u64),
    /// The short variable, besides `SMTP_<SECTION>__<KEY>`; empty when there is none.
    pub env: &'static str,
    /// When a changed value takes effect.
    pub reload: Reload,
    /// Never shown.
    pub secret: bool,
    /// The default in words, where it depends on the machine.
    pub default_words: &'static str,
    /// The setting whose value this one takes when it is not set itself; empty when there is none.
    pub follows: &'static str,
    pub(crate) follow: fn(&mut Config),
    pub(crate) set: fn(&mut Config, &Raw) -> Result<(), String>,
    pub(crate) get: fn(&Config) -> Json,
    pub(crate) same: fn(&Config, &Config) -> bool,
    pub(crate) copy: fn(&mut Config, &Config),
    pub(crate) schema: fn() -> Json,
}

/// Any number.
pub(crate) const ANY: (u64, u64) = (0, u64::MAX);

impl Descriptor {
    /// What a declaration gets when it does not say otherwise.
    pub(crate) const BLANK: Descriptor = Descriptor {
        name: "",
        section: "",
        doc: "",
        kind: "",
        members: "",
        unit: "",
        range: ANY,
        env: "",
        reload: Reload::Live,
        secret: false,
        default_words: "",
        follows: "",
        follow: |_| (),
        set: |_, _| Ok(()),
        get: |_| Json::Null,
        same: |_, _| true,
        copy: |_, _| (),
        schema: || Json::Null,
    };

    /// The key within its section.
    pub fn key(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, key)| key)
    }

    /// The variable that every setting has: `SMTP_<SECTION>__<KEY>`.
    pub fn variable(&self) -> String {
        format!(
            "SMTP_{}__{}",
            self.section.to_ascii_uppercase(),
            self.key().to_ascii_uppercase()
        )
    }

    /// The value in `config`, secrets masked.
    pub fn shown(&self, config: &Config) -> Json {
        match (self.get)(config) {
            Json::Null => Json::Null,
            _ if self.secret => Json::from("***"),
            value => value,
        }
    }
}

/// Declares sections and their settings once. From a declaration
/// `key: Type = default, Live|Restart, option: value…;` follow the field, its default and its [`Descriptor`].
/// A default may use the profile by the name given first.
macro_rules! settings {
    ($profile:ident; $(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Section:ident {
            $( $(#[doc = $doc:literal])+
               $key:ident: $type:ty = $default:expr, $reload:ident $(, $option:ident: $value:expr)*; )+
        }
    )+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section { $( $(#[doc = $doc])+ pub $key: $type, )+ }
        )+

        /// The whole configuration.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            /// What the server is run for.
            pub profile: Profile,
            $( $(#[doc = $section_doc])+ pub $section: $Section, )+
            /// Next hops by domain; the first match wins.
            pub routes: Vec<Route>,
            /// Local domains and where their mail goes.
            pub domains: Vec<Domain>,
            /// Who may send.
            pub accounts: Vec<Account>,
            /// Addresses whose mail goes to others.
            pub aliases: Vec<Alias>,
            /// Certificates beside the one of `tls`.
            pub certificates: Vec<CertificateFiles>,
            /// DKIM keys in files.
            pub dkim_keys: Vec<DkimKeyFile>,
            /// Tokens for the admin API.
            pub admin_tokens: Vec<AdminToken>,
            /// Programs that are told what becomes of mail.
            pub webhooks: Vec<Webhook>,
        }

        impl Config {
            /// The built-in defaults of a profile.
            pub fn defaults($profile: Profile) -> Config {
                Config {
                    profile: $profile,
                    $( $section: $Section { $( $key: $default, )+ }, )+
                    routes: Vec::new(),
                    domains: Vec::new(),
                    accounts: Vec::new(),
                    aliases: Vec::new(),
                    certificates: Vec::new(),
                    dkim_keys: Vec::new(),
                    admin_tokens: Vec::new(),
                    webhooks: Vec::new(),
                }
            }
        }

        /// Every setting but the lists, in the order of the reference.
        pub static SETTINGS: &[Descriptor] = &[ $( $( Descriptor {
            name: concat!(stringify!($section), ".", stringify!($key)),
            section: stringify!($section),
            doc: concat!($( $doc, "\n" ),+),
            kind: <$type as Value>::KIND,
            members: <$type as Value>::MEMBERS,
            reload: Reload::$reload,
            set: |config, raw| {
                config.$section.$key = <$type as Value>::read(raw)?;
                Ok(())
            },
            get: |config| Value::show(&config.$section.$key),
            same: |a, b| a.$section.$key == b.$section.$key,
            copy: |to, from| to.$section.$key.clone_from(&from.$section.$key),
            schema: <$type as Value>::schema,
            $( $option: $value, )*
            ..Descriptor::BLANK
        }, )+ )+ ];

        /// The sections with their documentation, in the order of the reference.
        pub static SECTIONS: &[(&str, &str)] =
            &[ $( (stringify!($section), concat!($( $section_doc, "\n" ),+)), )+ ];
    };
}
pub(crate) use settings;
