package pages

// menuGroup is a group of entries in the menu.
type menuGroup struct {
	Title   string // empty: the first group has none
	Entries []menuEntry
}

// menuEntry is one page in the menu.
type menuEntry struct {
	Text, Path string
	Key        string // the letter that opens the page after "g"; empty: none
	Current    bool
}

// menu returns the menu, with the entry of one path marked.
func menu(current string) []menuGroup {
	groups := []menuGroup{
		{"", []menuEntry{
			{Text: "Overview", Path: "/", Key: "o"},
			{Text: "Failures", Path: "/failures", Key: "f"},
			{Text: "Events", Path: "/events", Key: "e"},
		}},
		{"Deliveries", []menuEntry{
			{Text: "Sources", Path: "/sources", Key: "s"},
			{Text: "Conflicts", Path: "/conflicts", Key: "c"},
			{Text: "Unrecognized", Path: "/unrecognized", Key: "u"},
		}},
		{"Work", []menuEntry{
			{Text: "Job types", Path: "/job-types", Key: "t"},
			{Text: "Queues", Path: "/queues", Key: "q"},
			{Text: "Lanes", Path: "/lanes", Key: "l"},
			{Text: "Replays", Path: "/replays", Key: "r"},
		}},
		{"Running", []menuEntry{
			{Text: "Programs", Path: "/programs", Key: "p"},
			{Text: "Audit log", Path: "/audit", Key: "a"},
			{Text: "River UI", Path: "/river/"},
			{Text: "API", Path: "/api/v1/"},
		}},
	}
	for _, group := range groups {
		for i := range group.Entries {
			group.Entries[i].Current = group.Entries[i].Path == current
		}
	}
	return groups
}
