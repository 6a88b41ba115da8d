//go:build race

package lumin_test

const raceDetector = true
