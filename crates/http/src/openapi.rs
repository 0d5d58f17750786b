//! The description of the API (OpenAPI 3.1), made of the handlers, and the reference page made of that.

mod reference;

pub use reference::reference_markdown;

use crate::error::ErrorBody;
use smtp_config::Scope;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, ResponseBuilder};
use utoipa::{OpenApi as _, ToSchema};

/// What is not said by any handler.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "smtp-server admin API",
        description = "Queue, directory, configuration and credentials of one server. Times are RFC 3339 in UTC, sizes octets. Bodies of requests are \
                       JSON; POST and PATCH need `Content-Type: application/json`, even without a body, so that no page in a browser can send one. An error \
                       is `{\"error\":{\"code\":…,\"message\":…}}`: the code is for programs, the message for people.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(ErrorBody)),
    tags(
        (name = "server", description = "The server at a glance."),
        (name = "queue", description = "Mail that waits."),
        (name = "history", description = "What happened to messages, those that are gone too."),
        (name = "suspensions", description = "Mail that is taken and not tried."),
        (name = "domains", description = "Local domains."),
        (name = "accounts", description = "Who may send."),
        (name = "aliases", description = "Addresses whose mail goes to others."),
        (name = "dkim", description = "Keys that sign."),
        (name = "tokens", description = "Who may use this API."),
        (name = "audit", description = "Who changed what."),
    )
)]
struct Head;

/// The description of all routes. What is the same for all of them is added here.
pub(crate) fn document() -> OpenApi {
    let mut api = Head::openapi();
    api.merge(crate::router::described());
    let components = api.components.get_or_insert_default();
    for (name, scheme, words) in [
        (
            "basic",
            HttpAuthScheme::Basic,
            "The user `admin` and the admin password: every scope.",
        ),
        (
            "bearer",
            HttpAuthScheme::Bearer,
            "A token: the scope that it was made for. The scopes are read, operate and admin; each includes the ones before.",
        ),
    ] {
        let mut scheme = Http::new(scheme);
        scheme.description = Some(words.to_owned());
        components.add_security_scheme(name, SecurityScheme::Http(scheme));
    }
    for (name, words) in ERRORS {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name())));
        let response = ResponseBuilder::new()
            .description(words)
            .content("application/json", content.build());
        components.responses.insert(name.into(), response.build().into());
    }
    api
}

/// What any call may answer: name among the components, and what it means.
const ERRORS: [(&str, &str); 3] = [
    (
        "Unauthorized",
        "Nothing that proves who asks, or something that does not.",
    ),
    (
        "Forbidden",
        "The token has a lesser scope; `WWW-Authenticate` says which is needed.",
    ),
    (
        "Error",
        "Something else: 400 for a request that makes no sense, 404 for what is not there, 409 for what contradicts what is there, 413 for a \
         body over 64 KiB, 415 for one that is no JSON, 422 for a value that cannot be, 429 after ten wrong credentials, 503 while the server or \
         its store is not ready, 507 when the disk is full.",
    ),
];

/// Says of each operation what it needs, and what it may answer besides.
pub(crate) fn guarded(api: &mut OpenApi, scope: Scope) {
    for operation in api.paths.paths.values_mut().flat_map(operations_mut) {
        let nothing: [&str; 0] = [];
        operation.security = Some(vec![
            SecurityRequirement::new("basic", nothing),
            SecurityRequirement::new("bearer", [scope.name()]),
        ]);
        for (status, (name, _)) in ["401", "403", "default"].into_iter().zip(ERRORS) {
            let response = Ref::from_response_name(name);
            operation
                .responses
                .responses
                .insert(status.into(), response.into());
        }
        // Handlers' names are unique within their subject only.
        let subject = operation.tags.iter().flatten().next();
        if let (Some(subject), Some(name)) = (subject, &operation.operation_id) {
            operation.operation_id = Some(format!("{subject}_{name}"));
        }
    }
}

/// The operations of a path, with their methods.
#[cfg(test)]
pub(crate) fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &Operation)> {
    [
        ("GET", &item.get),
        ("POST", &item.post),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete]
        .into_iter()
        .filter_map(Option::as_mut)
}
