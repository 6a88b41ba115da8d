package manual

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// starter is the program that users copy. Its image and its services are the
// same as those of lumin-ingest, except for the name.
const starter = "examples/starter"

// withOurName replaces the name of the starter by that of lumin-ingest.
func withOurName(text string) string { return strings.ReplaceAll(text, "signing-jobs", "lumin-ingest") }

func TestStarterCompose(t *testing.T) {
	t.Parallel()
	services := func(folder string) (loaded map[string]any) {
		project, err := loadComposeOf(t, folder, composeSecrets())
		if err != nil {
			t.Fatal(err)
		}
		for name, service := range project.Services {
			if service.Build != nil {
				service.Build = &types.BuildConfig{Dockerfile: service.Build.Dockerfile} // without its folder
				project.Services[name] = service
			}
		}
		text, err := json.Marshal(map[string]any{"services": project.Services, "volumes": project.Volumes})
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(withOurName(string(text))), &loaded); err != nil {
			t.Fatal(err)
		}
		return loaded
	}
	if ours, theirs := services(""), services(starter); !reflect.DeepEqual(ours, theirs) {
		t.Errorf("the starter has other services:\n%v\nwant\n%v", theirs, ours)
	}
	if _, err := loadComposeOf(t, starter, types.Mapping{}); err == nil {
		t.Error("loaded without secrets")
	}
}

func TestStarterDockerfile(t *testing.T) {
	t.Parallel()
	ours, theirs := stagesOf(t, "Dockerfile"), stagesOf(t, starter+"/Dockerfile")
	if ours[0].image != theirs[0].image {
		t.Errorf("builds with %s, want %s", theirs[0].image, ours[0].image)
	}
	runs := func(s stage) string {
		text := withOurName(strings.Join(s.all("RUN"), "\n"))
		text = strings.ReplaceAll(text, " -mod=vendor", "")
		text = strings.ReplaceAll(text, "go mod download\n", "")
		return strings.ReplaceAll(text, " ./cmd/lumin-ingest\n", " .\n")
	}
	if want, got := runs(ours[0]), runs(theirs[0]); got != want {
		t.Errorf("builds by\n%s\nwant\n%s", got, want)
	}
	var image []instruction
	for _, i := range theirs[1].instructions {
		image = append(image, instruction{i.keyword, withOurName(i.args)})
	}
	if !reflect.DeepEqual(image, ours[1].instructions) {
		t.Errorf("the image is built by\n%v\nwant\n%v", image, ours[1].instructions)
	}
}
