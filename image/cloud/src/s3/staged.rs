//! A file in a bucket that everybody who knows its name can read, until it is dropped.
//!
//! Its name cannot be guessed. It is removed when the value goes, whatever has happened; [`Staged::remove`]
//! says whether that worked.

use std::io::Read;
use std::path::Path;

use aws_sdk_s3::types::ObjectCannedAcl;

use super::{S3Error, Service, told};

/// Where random bits come from.
const RANDOM: &str = "/dev/urandom";

/// A public object.
pub struct Staged<'a> {
    service: &'a Service,
    bucket: String,
    key: String,
    there: bool,
}

impl<'a> Staged<'a> {
    /// A random name in a bucket that ends in `suffix`; nothing is there yet.
    pub fn new(service: &'a Service, bucket: &str, suffix: &str) -> Result<Staged<'a>, S3Error> {
        let random = random().map_err(|error| S3Error::File(RANDOM.into(), error))?;
        let key = format!("holdfast-upload-{random}{suffix}");
        Ok(Staged { service, bucket: bucket.to_owned(), key, there: false })
    }

    /// Puts a file there. After an error there may be something to remove, too: the answer may be lost.
    pub fn put(&mut self, file: &Path) -> Result<(), S3Error> {
        self.there = true;
        let request = self.service.client.put_object().bucket(&self.bucket).key(&self.key);
        self.service.send(request.acl(ObjectCannedAcl::PublicRead), &self.bucket, &self.key, file)
    }

    /// Where it can be read.
    pub fn url(&self) -> String {
        self.service.url(&self.bucket, &self.key)
    }

    /// Its bucket and name, for people.
    pub fn name(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    /// Removes it.
    pub fn remove(mut self) -> Result<(), S3Error> {
        self.there = false;
        self.delete()
    }

    fn delete(&self) -> Result<(), S3Error> {
        let request = self.service.client.delete_object().bucket(&self.bucket).key(&self.key).send();
        let sent = self.service.runtime.block_on(request);
        sent.map(drop).map_err(|error| S3Error::Request {
            verb: "remove",
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            reason: told(&error),
        })
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.there {
            // What led here is told; a second error would hide it.
            let _ = self.delete();
        }
    }
}

/// 128 random bits, in hexadecimal.
fn random() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open(RANDOM)?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
