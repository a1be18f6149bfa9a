//! A repository in a bucket of S3, or of what speaks its language.
//!
//! An object is there whole or not at all, and is read as it was last written.

use std::collections::BTreeMap;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::primitives::ByteStream;
use image_cloud::s3::{Options, S3Error, Service, chain, told};
use image_layout::release::{METADATA, TARGETS};

use crate::release::order;

/// A bucket that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketError {
    /// The text names no bucket.
    #[error("`s3://{0}` is no bucket: s3://BUCKET/PREFIX")]
    Name(String),
    /// The service.
    #[error(transparent)]
    Service(#[from] S3Error),
}

impl BucketError {
    /// What would help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            BucketError::Name(_) => None,
            BucketError::Service(error) => error.hint(),
        }
    }
}

/// A bucket, and what the names of the repository's objects start with.
pub(crate) struct Bucket {
    service: Service,
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
        Ok(Bucket {
            service: Service::open(options)?,
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() { String::new() } else { format!("{prefix}/") },
        })
    }

    /// The repository's files with their sizes.
    pub(crate) fn list(&self) -> Result<BTreeMap<String, u64>, BucketError> {
        let mut found = BTreeMap::new();
        for folder in [METADATA, TARGETS] {
            let prefix = format!("{}{folder}/", self.prefix);
            let pages = self
                .service
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(&prefix)
                .into_paginator()
                .send();
            let pages = self.service.runtime.block_on(pages.collect::<Result<Vec<_>, _>>());
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
        let request = self.service.client.get_object().bucket(&self.bucket).key(&key).send();
        let object = match self.service.runtime.block_on(request) {
            Err(SdkError::ServiceError(error)) if error.err().is_no_such_key() => return Ok(None),
            object => object.map_err(|error| self.failed("read", &key, told(&error)))?,
        };
        let bytes = self.service.runtime.block_on(object.body.collect());
        Ok(Some(bytes.map_err(|error| self.failed("read", &key, chain(&error)))?.to_vec()))
    }

    /// Writes an object.
    pub(crate) fn write(&self, path: &str, bytes: Vec<u8>) -> Result<(), BucketError> {
        let key = self.key(path);
        let kind = if path.ends_with(".json") { "application/json" } else { "application/octet-stream" };
        // What is at a target's name never changes.
        let is_target = path.starts_with(TARGETS);
        let cache = if is_target { "public, max-age=31536000, immutable" } else { "no-cache" };
        let request = self.service.client.put_object().bucket(&self.bucket).key(&key).content_type(kind);
        let request = request.cache_control(cache).body(ByteStream::from(bytes)).send();
        self.service.runtime.block_on(request).map_err(|error| self.failed("write", &key, told(&error)))?;
        Ok(())
    }

    /// Removes an object.
    pub(crate) fn remove(&self, path: &str) -> Result<(), BucketError> {
        let key = self.key(path);
        let request = self.service.client.delete_object().bucket(&self.bucket).key(&key).send();
        self.service.runtime.block_on(request).map_err(|error| self.failed("remove", &key, told(&error)))?;
        Ok(())
    }

    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    fn failed(&self, verb: &'static str, key: &str, reason: String) -> BucketError {
        S3Error::Request { verb, bucket: self.bucket.clone(), key: key.to_owned(), reason }.into()
    }
}
