package archivecontract

// BucketName returns the name of a bucket in lumin.archived_files.
func BucketName(bucketURL string) string { return bucketName(bucketURL) }
