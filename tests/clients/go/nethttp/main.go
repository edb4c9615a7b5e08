// Go's net/http with its default client: go run main.go URL USERNAME
package main

import (
	"bytes"
	"encoding/json"
	"log"
	"net/http"
	"os"
)

type answer [2]any

var url string

func main() {
	log.SetFlags(0)
	url = os.Args[1]
	username := os.Args[2]

	register := post("/api/register", username, "password123")
	login := post("/api/login", username, "password123")
	token, _ := login[1].(map[string]any)["token"].(string)
	request, err := http.NewRequest(http.MethodGet, url+"/api/profile", nil)
	must(err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	must(err)
	profile := read(response)
	wrongPassword := post("/api/login", username, "wrongpassword")
	badRequest := post("/api/register", "ab", "password123")

	must(json.NewEncoder(os.Stdout).Encode(map[string]answer{
		"register": register, "login": login, "profile": profile,
		"wrongPassword": wrongPassword, "badRequest": badRequest,
	}))
}

func post(path, username, password string) answer {
	body, err := json.Marshal(map[string]string{"username": username, "password": password})
	must(err)
	response, err := http.Post(url+path, "application/json", bytes.NewReader(body))
	must(err)
	return read(response)
}

func read(response *http.Response) answer {
	defer response.Body.Close()
	var body any
	must(json.NewDecoder(response.Body).Decode(&body))
	return answer{response.StatusCode, body}
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
