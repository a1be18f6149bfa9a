//! A server of S3 on loopback: `s3s` with its file system behind, which checks signatures. How many writes it
//! takes can be limited, and its answers can get lost. Objects that were written as public can be read by everybody.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::dto::{
    DeleteObjectInput, DeleteObjectOutput, GetObjectInput, GetObjectOutput, HeadObjectInput,
    HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, PutObjectInput, PutObjectOutput,
};
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

pub(crate) const ID: &str = "publisher";
pub(crate) const SECRET: &str = "open sesame";
pub(crate) const BUCKET: &str = "releases";

struct Limited {
    files: FileSystem,
    writes: Arc<AtomicUsize>,
    silent: Arc<AtomicBool>,
    public: Public,
}

/// Keys of the objects that everybody may read.
#[derive(Clone, Default)]
struct Public(Arc<Mutex<BTreeSet<String>>>);

#[tough::async_trait]
impl S3Access for Public {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let reads = ["GetObject", "HeadObject"].contains(&context.s3_op().name());
        let object = context.s3_path().as_object().map(|(_, key)| key.to_owned());
        let public = |key: String| reads && self.0.lock().unwrap().contains(&key);
        if context.credentials().is_some() || object.is_some_and(public) {
            return Ok(());
        }
        Err(s3_error!(AccessDenied, "nobody may do this"))
    }
}

impl Limited {
    fn write(&self) -> S3Result<()> {
        let left = self.writes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| s3_error!(AccessDenied, "no more writes"))
    }
}

#[tough::async_trait]
impl S3 for Limited {
    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.write()?;
        if request.input.acl.as_ref().is_some_and(|acl| acl.as_str() == "public-read") {
            self.public.0.lock().unwrap().insert(request.input.key.clone());
        }
        let answer = self.files.put_object(request).await;
        if self.silent.load(Ordering::SeqCst) {
            return Err(s3_error!(InternalError, "the answer is lost"));
        }
        answer
    }

    async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.write()?;
        self.files.delete_object(request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.files.get_object(request).await
    }

    async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.files.list_objects_v2(request).await
    }
}

/// A running server.
pub(crate) struct Server {
    folder: PathBuf,
    writes: Arc<AtomicUsize>,
    silent: Arc<AtomicBool>,
    port: u16,
}

impl Server {
    /// Starts one that keeps its buckets in `folder`, and has an empty [`BUCKET`].
    pub(crate) fn start(folder: &Path) -> Server {
        std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
        let writes = Arc::new(AtomicUsize::new(usize::MAX));
        let files = FileSystem::new(folder).unwrap();
        let public = Public::default();
        let silent = Arc::new(AtomicBool::new(false));
        let limited =
            Limited { files, writes: writes.clone(), silent: silent.clone(), public: public.clone() };
        let mut builder = S3ServiceBuilder::new(limited);
        builder.set_access(public);
        builder.set_auth(SimpleAuth::from_single(ID, SECRET));
        let service = builder.build();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let serve = async move {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service.clone()));
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || runtime.block_on(serve));
        Server { folder: folder.to_owned(), writes, silent, port }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lets it take only so many writes more.
    pub(crate) fn limit(&self, writes: usize) {
        self.writes.store(writes, Ordering::SeqCst);
    }

    /// Has it take objects from now on and say that it failed.
    pub(crate) fn lose_answers(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// Where it keeps the objects of a prefix.
    pub(crate) fn objects(&self, prefix: &str) -> PathBuf {
        self.folder.join(BUCKET).join(prefix)
    }
}
