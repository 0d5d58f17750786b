//! Who is who: the directory, and who checks tokens. Both are drawn from the configuration, at the start and with each reload.

use crate::exit::{Exit, Failure};
use smtp_config::{Account, Config, Oauth, Profile, Secret};
use smtp_directory::{Declarations, Directory, DirectoryError, Prepared, Shelf};
use smtp_dkim::Identity;
use smtp_receive::Tokens;
use smtp_token::{Claim, KeySource, TokenSettings, TokenVerifier};
use std::sync::Arc;

/// The account that the development profile has when none is declared. Its password is the administrator's.
pub(crate) const DEVELOPER: &str = "dev";

/// What a configuration says of people, read and checked; not in force yet.
pub(crate) struct Plan {
    declarations: Declarations,
    tokens: Option<Arc<TokenVerifier>>,
}

/// The directory and the tokens that are in force.
#[derive(Clone)]
pub(crate) struct People {
    pub(crate) directory: Arc<Directory>,
    pub(crate) tokens: Arc<Tokens>,
}

impl Plan {
    /// Reads what is declared; files of keys, too: blocking. `password` is the administrator's.
    ///
    /// # Errors
    /// What does not fit together, line by line.
    pub(crate) fn read(config: &Config, password: &str) -> Result<Plan, String> {
        let tokens = verifier(&config.oauth)?.map(Arc::new);
        let declarations = match has_developer(config) {
            true => Declarations::read(&with_developer(config, password)),
            false => Declarations::read(config),
        };
        let declarations = declarations.map_err(|error| error.to_string())?;
        Ok(Plan { declarations, tokens })
    }

    /// The DKIM keys that are declared.
    pub(crate) fn keys(&self) -> Vec<Arc<Identity>> {
        self.declarations.keys().cloned().collect()
    }

    /// Opens the directory. Gives warnings, too.
    ///
    /// # Errors
    /// What is wrong with the declarations (78) or the database (75).
    pub(crate) async fn open(self, shelf: Arc<dyn Shelf>) -> Result<(People, Vec<String>), Failure> {
        let failed = |error: DirectoryError| match error {
            DirectoryError::Unavailable(_) => Failure::new(Exit::Temporary, error),
            _ => Failure::new(Exit::Config, error),
        };
        let (directory, warnings) = Directory::open(shelf, self.declarations).await.map_err(failed)?;
        let tokens = Arc::new(Tokens::new(self.tokens));
        Ok((People { directory, tokens }, warnings))
    }
}

impl People {
    /// Does everything that a plan needs and that can fail.
    ///
    /// # Errors
    /// Why the directory cannot take it.
    pub(crate) async fn prepare(&self, plan: Plan) -> Result<PreparedPeople<'_>, String> {
        let directory = self.directory.prepare(plan.declarations).await;
        Ok(PreparedPeople {
            directory: directory.map_err(|error| error.to_string())?,
            issuer: &self.tokens,
            tokens: plan.tokens,
        })
    }
}

/// A plan that only has to be put in force.
pub(crate) struct PreparedPeople<'a> {
    directory: Prepared<'a>,
    issuer: &'a Tokens,
    tokens: Option<Arc<TokenVerifier>>,
}

impl PreparedPeople<'_> {
    /// Puts it in force. Tokens keep their keys unless `new_issuer`. Gives warnings.
    pub(crate) fn take(self, new_issuer: bool) -> Vec<String> {
        if new_issuer {
            self.issuer.store(self.tokens);
        }
        self.directory.take()
    }
}

/// Whether somebody who tries the server out gets an account without declaring one: on loopback only.
pub(crate) fn has_developer(config: &Config) -> bool {
    config.profile == Profile::Development
        && config.accounts.is_empty()
        && config.server.host.iter().all(|host| host.is_loopback())
}

fn with_developer(config: &Config, password: &str) -> Config {
    let mut config = config.clone();
    config.accounts.push(Account {
        name: DEVELOPER.into(),
        password: Some(Secret::new(password)),
        senders: vec!["*".into()],
        identities: Vec::new(),
        quota: Vec::new(),
    });
    config
}

fn verifier(oauth: &Oauth) -> Result<Option<TokenVerifier>, String> {
    let Some(issuer) = &oauth.issuer else {
        return Ok(None);
    };
    let source = match (&oauth.jwks_file, &oauth.jwks_url) {
        (Some(path), _) => KeySource::File(path.clone()),
        (None, url) => KeySource::Url {
            url: url.clone().unwrap_or_default(),
            ca_file: oauth.jwks_ca_file.clone(),
            bearer_token_file: oauth.jwks_token_file.clone(),
        },
    };
    let settings = TokenSettings {
        issuer: issuer.clone(),
        audience: oauth.audience.clone(),
        source,
        claim: oauth
            .account_claim
            .parse::<Claim>()
            .map_err(|error| format!("oauth.account_claim: {error}"))?,
    };
    let verifier = TokenVerifier::new(settings);
    verifier.map(Some).map_err(|error| format!("oauth: {error}"))
}
