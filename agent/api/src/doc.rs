//! The OpenAPI document, generated from the wire types and the table of routes below.

use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ArrayBuilder, Components, ComponentsBuilder, Ref, Schema};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Paths, RefOr, Required, ResponseBuilder,
};
use utoipa::{IntoParams, ToSchema};

use crate::routes;
use crate::types::*;

/// The document that the server serves and replies are validated against.
pub fn openapi() -> OpenApi {
    let mut doc = Doc { paths: Paths::new(), components: ComponentsBuilder::new().build() };
    doc.component::<ErrorReply>();
    reading(&mut doc);
    acting(&mut doc);
    let info = InfoBuilder::new().title("Holdfast").version(env!("CARGO_PKG_VERSION"));
    OpenApiBuilder::new()
        .info(info.description(Some("The local API of a box, on a Unix socket.")).build())
        .paths(doc.paths)
        .components(Some(doc.components))
        .build()
}

fn reading(doc: &mut Doc) {
    let get = HttpMethod::Get;
    let status = doc.one::<Status>();
    doc.add(routes::STATUS, get.clone(), "The state of the box", None, vec![], JSON, status);
    let doctor = doc.one::<Doctor>();
    doc.add(routes::DOCTOR, get.clone(), "What is wrong, and what to do", None, vec![], JSON, doctor);
    let query = params::<ReportQuery>();
    doc.add(routes::REPORT, get.clone(), "A report without secrets", None, query, GZIP, None);
    let containers = doc.many::<Container>();
    doc.add(routes::CONTAINERS, get.clone(), "All containers", None, vec![], JSON, containers);
    let plan = doc.one::<Plan>();
    doc.add(routes::PLAN, get.clone(), "What the agent would do", None, vec![], JSON, plan);
    let waited = doc.one::<Waited>();
    let query = params::<WaitQuery>();
    doc.add(routes::WAIT, get.clone(), "Wait until nothing is left to do", None, query, JSON, waited);
    let line = doc.one::<LogLine>();
    doc.add(routes::LOGS, get.clone(), "Read logs", None, params::<LogsQuery>(), JSON_LINES, line);
    let event = doc.one::<Event>();
    doc.add(routes::EVENTS, get.clone(), "Read events", None, params::<EventsQuery>(), JSON_LINES, event);
    let images = doc.many::<Image>();
    doc.add(routes::IMAGES, get.clone(), "All images", None, vec![], JSON, images);
    let volumes = doc.many::<Volume>();
    doc.add(routes::VOLUMES, get.clone(), "All volumes", None, vec![], JSON, volumes);
    doc.add(routes::VOLUME_CONTENT, get.clone(), "Export a volume", None, vec![], TAR, None);
    let network = doc.one::<NetworkState>();
    doc.add(routes::NETWORK, get.clone(), "The box's own network", None, vec![], JSON, network);
    let data = doc.one::<Data>();
    doc.add(routes::DATA, get.clone(), "The data partition", None, vec![], JSON, data);
    let update = doc.one::<UpdateStatus>();
    doc.add(routes::UPDATE, get.clone(), "Updates of the box", None, vec![], JSON, update);
    let notify = doc.one::<NotifyStatus>();
    doc.add(routes::NOTIFY, get.clone(), "Messages to the box's owner", None, vec![], JSON, notify);
    let version = doc.one::<Version>();
    doc.add(routes::VERSION, get.clone(), "Versions", None, vec![], JSON, version);
    doc.add(routes::OPENAPI, get, "This document", None, vec![], JSON, None);
}

fn acting(doc: &mut Doc) {
    let post = HttpMethod::Post;
    let text = Some(Body { content_type: TOML, schema: None });
    let plan = doc.one::<Plan>();
    doc.add(routes::PLAN, post.clone(), "What a document would do", text.clone(), vec![], JSON, plan);
    let applied = doc.one::<Applied>();
    doc.add(routes::APPLY, post.clone(), "Apply a document", text, params::<ApplyQuery>(), JSON, applied);
    let exec = Some(Body { content_type: JSON, schema: doc.one::<ExecRequest>() });
    doc.add(routes::EXEC, post.clone(), "Run a command in a container", exec, vec![], UPGRADED, None);
    let pruned = doc.one::<Pruned>();
    doc.add(routes::IMAGES_PRUNE, post.clone(), "Remove unused images", None, vec![], JSON, pruned);
    let pulled = doc.one::<Pulled>();
    doc.add(routes::PULL, post.clone(), "Resolve tags again", None, vec![], JSON, pulled);
    for (route, summary) in [
        (routes::UPDATE_CHECK, "Look for a newer release"),
        (routes::UPDATE_STAGE, "Stage the newer release"),
        (routes::UPDATE_SCRUB, "Read both slots, and repair what is damaged"),
    ] {
        let update = doc.one::<UpdateStatus>();
        doc.add(route, post.clone(), summary, None, vec![], JSON, update);
    }
    let tested = doc.one::<NotifyTested>();
    doc.add(routes::NOTIFY_TEST, post.clone(), "Send a message now", None, vec![], JSON, tested);
    let checked = doc.one::<DataChecked>();
    doc.add(routes::DATA_CHECK, post.clone(), "Check data", None, vec![], JSON, checked);
    let changed = doc.one::<Changed>();
    let format = Some(Body { content_type: JSON, schema: doc.one::<DataFormat>() });
    doc.add(routes::DATA_FORMAT, post.clone(), "Make data anew", format, vec![], JSON, changed.clone());
    for (route, summary) in [
        (routes::RESTART, "Restart"),
        (routes::REBOOT, "Reboot"),
        (routes::POWEROFF, "Power off"),
        (routes::UPDATE_APPLY, "Restart into the newer release"),
        (routes::UPDATE_ROLLBACK, "Restart into the version before"),
    ] {
        doc.add(route, post.clone(), summary, None, vec![], JSON, changed.clone());
    }
    let settings = Some(Body { content_type: TOML, schema: None });
    let query = params::<ApplyQuery>();
    doc.add(
        routes::NETWORK_TRY,
        post.clone(),
        "Try network settings",
        settings,
        query,
        JSON,
        changed.clone(),
    );
    for (route, summary) in [
        (routes::NETWORK_CONFIRM, "Make what is tried last"),
        (routes::NETWORK_REVERT, "Put back what was before"),
    ] {
        doc.add(route, post.clone(), summary, None, vec![], JSON, changed.clone());
    }
    let delete = HttpMethod::Delete;
    doc.add(routes::VOLUME, delete, "Remove a volume", None, vec![], JSON, changed.clone());
    let tar = Some(Body { content_type: TAR, schema: None });
    doc.add(routes::VOLUME_CONTENT, HttpMethod::Put, "Import a volume", tar, vec![], JSON, changed);
}

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/jsonl";
const GZIP: &str = "application/gzip";
const TAR: &str = "application/x-tar";
const TOML: &str = "application/toml";
const UPGRADED: &str = "application/octet-stream";

type SchemaRef = Option<RefOr<Schema>>;

#[derive(Clone)]
struct Body {
    content_type: &'static str,
    schema: SchemaRef,
}

struct Doc {
    paths: Paths,
    components: Components,
}

impl Doc {
    fn component<T: ToSchema>(&mut self) -> RefOr<Schema> {
        let mut found = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut found);
        self.components.schemas.extend(found);
        RefOr::Ref(Ref::from_schema_name(T::name()))
    }

    fn one<T: ToSchema>(&mut self) -> SchemaRef {
        Some(self.component::<T>())
    }

    fn many<T: ToSchema>(&mut self) -> SchemaRef {
        let items = self.component::<T>();
        Some(RefOr::T(Schema::Array(ArrayBuilder::new().items(items).build())))
    }

    #[expect(clippy::too_many_arguments, reason = "a row of the table of routes")]
    fn add(
        &mut self,
        route: &str,
        method: HttpMethod,
        summary: &str,
        body: Option<Body>,
        query: Vec<Parameter>,
        content_type: &str,
        reply: SchemaRef,
    ) {
        let content = ContentBuilder::new().schema(reply).build();
        let code = if content_type == UPGRADED { "101" } else { "200" };
        let done = ResponseBuilder::new().description("Done").content(content_type, content).build();
        let error = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorReply::name()))).build();
        let failed = ResponseBuilder::new().description("Not done").content(JSON, error).build();
        let mut operation: OperationBuilder = OperationBuilder::new()
            .summary(Some(summary))
            .parameters(Some(query))
            .response(code, done)
            .response("default", failed);
        for segment in route.split('/').filter_map(|s| s.strip_prefix('{')?.strip_suffix('}')) {
            let parameter = ParameterBuilder::new().name(segment).parameter_in(ParameterIn::Path);
            let text = <String as utoipa::PartialSchema>::schema();
            operation = operation.parameter(parameter.required(Required::True).schema(Some(text)).build());
        }
        if let Some(body) = body {
            let content = ContentBuilder::new().schema(body.schema).build();
            let body = RequestBodyBuilder::new().content(body.content_type, content).build();
            operation = operation.request_body(Some(body));
        }
        let operation: Operation = operation.build();
        self.paths.add_path_operation(route, vec![method], operation);
    }
}

fn params<T: IntoParams>() -> Vec<Parameter> {
    T::into_params(|| Some(ParameterIn::Query))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_has_its_schema() {
        let doc = serde_json::to_value(openapi()).unwrap();
        let text = doc.to_string();
        let known = doc["components"]["schemas"].as_object().unwrap();
        let mut seen = 0;
        for part in text.split("#/components/schemas/").skip(1) {
            let name = &part[..part.find('"').unwrap()];
            assert!(known.contains_key(name), "{name} is referred to and not described");
            seen += 1;
        }
        assert!(seen > 30);
    }
}
