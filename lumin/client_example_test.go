package lumin_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"lumin-ingest/internal/luminapi"
	"lumin-ingest/lumin"
)

func ExampleClient() {
	api := luminapi.New() // in place of lumin.APIURL
	defer api.Close()
	api.SetRequest("fa5c8a0b", map[string]any{"status": "APPROVED"})
	api.SetFile("fa5c8a0b", lumin.FileAgreement, luminapi.PDF(5000))

	client, err := lumin.NewClient(lumin.ClientConfig{BaseURL: api.URL(), APIKey: luminapi.APIKey})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	request, _, err := client.SignatureRequest(ctx, "fa5c8a0b")
	fmt.Println(*request.Status, err)

	file, err := client.File(ctx, "fa5c8a0b", lumin.FileAgreement)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Body.Close()
	n, err := io.Copy(io.Discard, file.Body)
	fmt.Println(n, "bytes", err)

	_, _, err = client.SignatureRequest(ctx, "another")
	var answer *lumin.APIError
	fmt.Println(err, errors.As(err, &answer) && answer.Temporary())
	// Output:
	// APPROVED <nil>
	// 5000 bytes <nil>
	// fetch the signature request from Lumin: Lumin's API answered 404 Not Found false
}
