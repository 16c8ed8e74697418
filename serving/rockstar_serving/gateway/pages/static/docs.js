// Starts Swagger UI on this gateway's document; nothing is fetched from elsewhere.
const place = document.getElementById("swagger-ui");

async function start() {
  const response = await fetch(place.dataset.document);
  const spec = await response.json();
  // Where the document came from is right also behind a proxy that does not say where it is.
  spec.servers = [{ url: new URL(".", response.url).pathname.replace(/(.)\/$/, "$1") }];
  SwaggerUIBundle({
    domNode: place,
    spec,
    validatorUrl: null,
    deepLinking: true,
    displayRequestDuration: true,
    tryItOutEnabled: true,
    defaultModelsExpandDepth: 0,
  });
}

start();
