package jobs

// BucketName is the URL of a bucket as rows have it.
func BucketName(bucketURL string) string { return bucketName(bucketURL) }
