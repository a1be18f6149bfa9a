//! S3, or what speaks its language: where the service is, who asks, and an object that is public for a
//! while.

mod credentials;
mod staged;

pub use credentials::{Credentials, CredentialsError};
pub use staged::Staged;

use std::path::Path;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use tokio::runtime::Runtime;

/// A service or bucket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// Where the bucket is, nobody says.
    #[error("nothing says where the bucket is")]
    Region,
    /// Who asks, nobody says.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// There is no runtime.
    #[error("failed to start the client of S3")]
    Runtime(#[source] std::io::Error),
    /// The file to send cannot be read.
    #[error("failed to read `{0}`")]
    File(std::path::PathBuf, #[source] std::io::Error),
    /// The server says no, or cannot be reached.
    #[error("failed to {verb} `s3://{bucket}/{key}`: {reason}")]
    Request {
        /// What was to be done.
        verb: &'static str,
        /// The bucket.
        bucket: String,
        /// The object, or what their names start with.
        key: String,
        /// What the client says.
        reason: String,
    },
}

impl S3Error {
    /// What would help.
    pub fn hint(&self) -> Option<String> {
        match self {
            S3Error::Region => Some("give --region, or --endpoint of another provider than AWS".to_owned()),
            S3Error::Credentials(_) => Some("set them, or AWS_PROFILE".to_owned()),
            _ => None,
        }
    }
}

/// Where a bucket is, by options or by the environment.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// URL of the service.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Whether it is DigitalOcean's Spaces, whose keys have variables of their own.
    pub spaces: bool,
}

/// A client with its runtime; nothing was asked of the server yet.
pub struct Service {
    /// The client.
    pub client: Client,
    /// What its requests run on.
    pub runtime: Runtime,
    /// URL of the service, where it is not AWS's.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: String,
}

impl Service {
    /// Finds the service and the credentials.
    pub fn open(options: &Options) -> Result<Service, S3Error> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let first = |names: [&str; 2]| names.into_iter().find_map(variable);
        let endpoint =
            options.endpoint.clone().or_else(|| first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
        let region = options.region.clone().or_else(|| first(["AWS_REGION", "AWS_DEFAULT_REGION"]));
        // Other services than AWS's have one region, which has to be called something.
        let region = region.or_else(|| endpoint.as_ref().map(|_| "us-east-1".to_owned()));
        let region = region.ok_or(S3Error::Region)?;
        let found = credentials::find(|name| {
            let own = options.spaces.then(|| name.strip_prefix("AWS_")).flatten();
            let own = own.and_then(|name| variable(&format!("SPACES_{name}")));
            own.or_else(|| variable(name))
        })?;
        let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.clone()))
            .credentials_provider(aws_sdk_s3::config::Credentials::new(
                found.id,
                found.secret.expose(),
                found.token.map(|token| token.expose().to_owned()),
                None,
                "holdfast-image",
            ))
            .http_client(http.build_https())
            // Others than AWS know no checksums; what is stored is known by its name.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = &endpoint {
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Service {
            client: Client::from_conf(config.build()),
            runtime: runtime.map_err(S3Error::Runtime)?,
            endpoint,
            region,
        })
    }

    /// Puts a file into a bucket.
    pub fn put(&self, bucket: &str, key: &str, file: &Path) -> Result<(), S3Error> {
        self.send(self.client.put_object().bucket(bucket).key(key), bucket, key, file)
    }

    fn send(
        &self,
        request: PutObjectFluentBuilder,
        bucket: &str,
        key: &str,
        file: &Path,
    ) -> Result<(), S3Error> {
        let unreadable = |error| S3Error::File(file.to_owned(), std::io::Error::other(error));
        let body = self.runtime.block_on(ByteStream::from_path(file)).map_err(unreadable)?;
        let request = request.content_type("application/octet-stream").body(body).send();
        self.runtime.block_on(request).map(drop).map_err(|error| S3Error::Request {
            verb: "write",
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            reason: told(&error),
        })
    }

    /// The URL of an object, for those who ask without credentials.
    pub fn url(&self, bucket: &str, key: &str) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{}/{bucket}/{key}", endpoint.trim_end_matches('/')),
            None => format!("https://{bucket}.s3.{}.amazonaws.com/{key}", self.region),
        }
    }
}

/// What the server says, or why there was no answer.
pub fn told<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> String {
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => chain(error),
    }
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
