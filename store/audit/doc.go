// Package audit checks stored events against their signed bodies, and lists the keys
// that have verified deliveries.
//
// Use it to find changes that someone made in the database:
//
//	result, err := audit.Run(ctx, pool, audit.Range{}, keyrings, func(f audit.Finding) error {
//		fmt.Println(f.EventID, f.What)
//		return nil
//	})
//
// What it guarantees: every event within the range is checked, even if its time was
// altered, and memory use does not depend on the number of events. It changes
// nothing.
package audit
