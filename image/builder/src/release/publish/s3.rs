//! A repository in a bucket of S3, or of what speaks its language.
//!
//! An object is there whole or not at all, and is read as it was last written.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use image_layout::release::{METADATA, TARGETS};
use tokio::runtime::Runtime;

use super::credentials::{self, CredentialsError};
use crate::release::order;

/// A bucket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketError {
    /// The text names no bucket.
    #[error("`s3://{0}` is no bucket: s3://BUCKET/PREFIX")]
    Name(String),
    /// Where the bucket is, nobody says.
    #[error("nothing says where the bucket is")]
    Region,
    /// Who publishes, nobody says.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// There is no runtime.
    #[error("failed to start the client of S3")]
    Runtime(#[source] std::io::Error),
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

impl BucketError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            BucketError::Region => {
                Some("give --region, or --endpoint of another provider than AWS".to_owned())
            }
            BucketError::Credentials(_) => Some("set them, or AWS_PROFILE".to_owned()),
            _ => None,
        }
    }
}

/// Where a bucket is, by options or by the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// URL of the service.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
}

/// A bucket, and what the names of the repository's objects start with.
pub(crate) struct Bucket {
    client: Client,
    runtime: Runtime,
    bucket: String,
    prefix: String,
}

impl Bucket {
    /// Opens `BUCKET[/PREFIX]`. Nothing is asked of the server.
    pub(crate) fn open(text: &str, options: &Options) -> Result<Bucket, BucketError> {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        let prefix = prefix.trim_matches('/');
        if bucket.is_empty() || prefix.split('/').any(|part| part == "." || part == "..") {
            return Err(BucketError::Name(text.to_owned()));
        }
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let first = |names: [&str; 2]| names.into_iter().find_map(variable);
        let endpoint =
            options.endpoint.clone().or_else(|| first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
        let region = options.region.clone().or_else(|| first(["AWS_REGION", "AWS_DEFAULT_REGION"]));
        // Other services than AWS's have one region, which has to be called something.
        let region = region.or_else(|| endpoint.as_ref().map(|_| "us-east-1".to_owned()));
        let region = region.ok_or(BucketError::Region)?;
        let found = credentials::find(|name| std::env::var(name).ok())?;
        let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .credentials_provider(Credentials::new(
                found.id,
                found.secret,
                found.token,
                None,
                "holdfast-image",
            ))
            .http_client(http.build_https())
            // Others than AWS know no checksums; what is stored is known by its name.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        if let Some(endpoint) = endpoint {
            config = config.endpoint_url(endpoint).force_path_style(true);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Bucket {
            client: Client::from_conf(config.build()),
            runtime: runtime.map_err(BucketError::Runtime)?,
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
        })
    }

    /// The repository's files with their sizes.
    pub(crate) fn list(&self) -> Result<BTreeMap<String, u64>, BucketError> {
        let mut found = BTreeMap::new();
        for folder in [METADATA, TARGETS] {
            let prefix = format!("{}{folder}/", self.prefix);
            let pages =
                self.client.list_objects_v2().bucket(&self.bucket).prefix(&prefix).into_paginator().send();
            let pages = self.runtime.block_on(pages.collect::<Result<Vec<_>, _>>());
            for object in pages
                .map_err(|error| self.failed("list", &prefix, told(&error)))?
                .into_iter()
                .flat_map(|page| page.contents.unwrap_or_default())
            {
                let path = object.key().and_then(|key| key.strip_prefix(&self.prefix)).unwrap_or_default();
                if order::kind(path).is_some() {
                    let size = object.size().and_then(|size| u64::try_from(size).ok());
                    found.insert(path.to_owned(), size.unwrap_or_default());
                }
            }
        }
        Ok(found)
    }

    /// An object's content; `None` where there is none.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, BucketError> {
        let key = self.key(path);
        let request = self.client.get_object().bucket(&self.bucket).key(&key).send();
        let object = match self.runtime.block_on(request) {
            Err(SdkError::ServiceError(error)) if error.err().is_no_such_key() => return Ok(None),
            object => object.map_err(|error| self.failed("read", &key, told(&error)))?,
        };
        let bytes = self.runtime.block_on(object.body.collect());
        Ok(Some(bytes.map_err(|error| self.failed("read", &key, chain(&error)))?.to_vec()))
    }

    /// Writes an object.
    pub(crate) fn write(&self, path: &str, bytes: Vec<u8>) -> Result<(), BucketError> {
        let key = self.key(path);
        let kind = if path.ends_with(".json") { "application/json" } else { "application/octet-stream" };
        // What is at a target's name never changes.
        let is_target = path.starts_with(TARGETS);
        let cache = if is_target { "public, max-age=31536000, immutable" } else { "no-cache" };
        let request = self.client.put_object().bucket(&self.bucket).key(&key).content_type(kind);
        let request = request.cache_control(cache).body(ByteStream::from(bytes)).send();
        self.runtime.block_on(request).map_err(|error| self.failed("write", &key, told(&error)))?;
        Ok(())
    }

    /// Removes an object.
    pub(crate) fn remove(&self, path: &str) -> Result<(), BucketError> {
        let key = self.key(path);
        let request = self.client.delete_object().bucket(&self.bucket).key(&key).send();
        self.runtime.block_on(request).map_err(|error| self.failed("remove", &key, told(&error)))?;
        Ok(())
    }

    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    fn failed(&self, verb: &'static str, key: &str, reason: String) -> BucketError {
        BucketError::Request { verb, bucket: self.bucket.clone(), key: key.to_owned(), reason }
    }
}

/// What the server says, or why there was no answer.
fn told<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> String {
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => chain(error),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
