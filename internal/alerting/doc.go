// Package alerting sends alerts to a webhook while a program runs.
//
//	sender := alerting.Start(alerting.Config{Settings: settings, Pool: pool, Logger: logger})
//	defer sender.Stop()
//
// Conditions and state are in package store/alerts. Any number of programs may run a
// sender on one database: one of them examines and sends. Without a webhook, one
// examines. A webhook that is slow or gone stops nothing else, and its URL, which is a secret, is in no log and in no
// error.
package alerting
